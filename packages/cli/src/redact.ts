const SECRET_KEY = String.raw`[^=?&;,\s]*(?:pass|pwd|secret|token|key|auth|cred|sig)[^=?&;,\s]*\s*=`
/** Of a query, where `&` ends a value. */
const SECRET_PARAMETER = new RegExp(`([?&]${SECRET_KEY})([^&]*)`, 'gis')
/** Of a list such as `Host=h;Password=p`, where `;` does, unless it is quoted. */
const SECRET_ITEM = new RegExp(`((?:^|[;,\\s])${SECRET_KEY})((?:"[^"]*"|'[^']*'|[^;])*)`, 'gis')

/** What has an `@` and no password: the paths of files, the lines of stacks. */
const PATH = /^(?:sqlite:|file:|[a-z]:\\.*:\d+:\d+)/i
const PAGE = /^https?:\/\//i

/**
 * A connection string that may be shown: user and password, and what the query keeps secret, are `***`. Where a string
 * could be read in more than one way, rather too much is hidden.
 */
export function redactConnection(connection: string): string {
  return hideUser(hideParameters(connection))
}

/** Any text for people, with each connection string in it redacted. Pages without a user stay readable. */
export function redactText(text: string): string {
  return text.replaceAll(/\S+/g, (word) => {
    const shown = hideParameters(word)
    const [opening = ''] = /^(?:[("'`[<{]|-{0,2}[\w-]+=)*/.exec(shown) ?? []
    const rest = shown.slice(opening.length)
    const hasUser = PAGE.test(rest) ? /\/\/(?:[^/]*|.*:.*)@/ : /:.*@/
    return hasUser.test(rest) ? opening + hideUser(rest) : shown
  })
}

/** All up to the last `@`: a password may have one, and slashes too. */
function hideUser(connection: string): string {
  return PATH.test(connection) ? connection : connection.replace(/^([a-z][\w.+-]*:\/\/)?.*@/is, '$1***@')
}

/** Items first: what looks like a parameter within quotes must not take the closing one with it. */
function hideParameters(connection: string): string {
  return connection.replaceAll(SECRET_ITEM, hidden).replaceAll(SECRET_PARAMETER, hidden)
}

/** An `@` in a value may be the one before the host: it stays, for what it ends to be hidden as well. */
function hidden(_: string, key: string, value: string): string {
  return `${key}${value.includes('@') ? '***@***' : '***'}`
}
