/** The name of a parameter, with what comes before it. Every expression here is linear: error messages may be of any length. */
const PARAMETER = /[?&][^=?&;,\s]*\s*=/g
/** The same in a list such as `Host=h;Password=p`. */
const ITEM = /(?:^|[;,\s])[^=?&;,\s]+\s*=/g
const SECRET_KEY = /pass|pwd|secret|token|key|auth|cred|sig/i
/** Of a query, where `&` ends a value. */
const PARAMETER_VALUE = /[^&]*/y
/** Of a list, where `;` ends a value unless it is quoted. */
const ITEM_VALUE = /(?:"[^"]*"|'[^']*'|[^;])*/y

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
    const [opening = ''] = /^(?:[("'`[<{]|[\w-]+=)*/.exec(shown) ?? []
    const rest = shown.slice(opening.length)
    return hasUser(rest) ? opening + hideUser(rest) : shown
  })
}

/** Whether there is an `@` that may end a user and a password. That of a page's path, without a colon before it, does not. */
function hasUser(word: string): boolean {
  const page = PAGE.exec(word)?.[0] ?? ''
  const colon = word.indexOf(':', page.length)
  return (colon >= 0 && colon < word.lastIndexOf('@')) || (page !== '' && /\/\/[^/]*@/.test(word))
}

/** All up to the last `@`: a password may have one, and slashes too. */
function hideUser(connection: string): string {
  return PATH.test(connection) ? connection : connection.replace(/^([a-z][\w.+-]*:\/\/)?.*@/is, '$1***@')
}

/** Items first: what looks like a parameter within quotes must not take the closing one with it. */
function hideParameters(connection: string): string {
  return hideValues(hideValues(connection, ITEM, ITEM_VALUE), PARAMETER, PARAMETER_VALUE)
}

function hideValues(text: string, key: RegExp, value: RegExp): string {
  let shown = ''
  let end = 0
  for (const match of text.matchAll(key)) {
    // It may stand in a value that is hidden already.
    if (match.index < end || !SECRET_KEY.test(match[0])) continue
    const start = match.index + match[0].length
    value.lastIndex = start
    const [secret = ''] = value.exec(text) ?? []
    shown += text.slice(end, start) + hidden(secret)
    end = start + secret.length
  }
  return shown + text.slice(end)
}

/** An `@` in a value may be the one before the host: it stays, for what it ends to be hidden as well. */
function hidden(value: string): string {
  return value.includes('@') ? '***@***' : '***'
}
