/**
 * Both drivers open a database in memory and attach the file to it: with libsql this is the only way to close
 * the file again. Table names need no prefix. CREATE and PRAGMA must name this schema, otherwise they mean the memory.
 */
export const SCHEMA = 'queue_file'

export const ATTACH = `ATTACH ?1 AS ${SCHEMA}`
export const DETACH = `DETACH ${SCHEMA}`
