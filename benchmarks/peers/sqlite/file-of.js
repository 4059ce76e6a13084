/** The file of a connection string. */
export function fileOf(connection) {
  return connection.slice('sqlite:'.length)
}
