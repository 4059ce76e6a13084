/** The file behind a connection string of the bench's. */
export function fileOf(connection) {
  return connection.slice('sqlite:'.length)
}
