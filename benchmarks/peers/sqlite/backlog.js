/**
 * Lays in a backlog for a queue without a bulk call, in seconds instead of many minutes: one job is submitted by the
 * queue itself, and its row is copied. `run` executes SQL, `columns` are those of `table` but the key.
 */
export async function layBacklog({ submitOne, run, table, columns, count }) {
  await submitOne()
  const list = columns.map((column) => `"${column}"`).join()
  await run(
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count - 1})
     INSERT INTO ${table} (${list}) SELECT ${list} FROM ${table}, n WHERE ${count} > 1`,
  )
}
