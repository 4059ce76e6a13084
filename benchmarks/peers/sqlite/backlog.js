/**
 * Fills a backlog for a queue without a bulk call, in seconds instead of many minutes: the queue submits one job, and SQL copies
 * its row. `run` executes SQL. `columns` are the columns of `table` without the key.
 */
export async function layBacklog({ submitOne, run, table, columns, count }) {
  await submitOne()
  const list = columns.map((column) => `"${column}"`).join()
  await run(
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count - 1})
     INSERT INTO ${table} (${list}) SELECT ${list} FROM ${table}, n WHERE ${count} > 1`,
  )
}
