/**
 * Both drivers open a database in memory and attach the file to it: with libsql that is the only way to let go of the file
 * again. The tables need no prefix. What else names a schema, as CREATE and PRAGMA do, must name this one, or it means the memory.
 */
export const SCHEMA = 'queue_file'

export const ATTACH = `ATTACH ?1 AS ${SCHEMA}`
export const DETACH = `DETACH ${SCHEMA}`
