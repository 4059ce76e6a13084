/** The scheme of a connection string. A single letter is a Windows drive; `host:4730` and lists of hosts have no scheme. */
export function schemeOf(connection: string | undefined): string | undefined {
  return connection?.match(/^([a-z][a-z0-9+.-]+):(?!\d+(?:$|[,/]))/i)?.[1]?.toLowerCase()
}
