/** The scheme of a connection string. A single letter is a Windows drive, and `host:4730` has none, nor a list of such. */
export function schemeOf(connection: string | undefined): string | undefined {
  return connection?.match(/^([a-z][a-z0-9+.-]+):(?!\d+(?:$|[,/]))/i)?.[1]?.toLowerCase()
}
