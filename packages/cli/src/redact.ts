/**
 * The name of a query parameter and the separator before it. Every expression in this file takes linear time, because error
 * messages may be of any length.
 */
const PARAMETER = /[?&][^=?&;,\s]*\s*=/g
/** The name of an item in a list such as `Host=h;Password=p`, and the separator before it. */
const ITEM = /(?:^|[;,\s])[^=?&;,\s]+\s*=/g
const SECRET_KEY = /pass|pwd|secret|token|key|auth|cred|sig/i
/** The value of a query parameter, which ends at `&`. */
const PARAMETER_VALUE = /[^&]*/y
/** The value of a list item, which ends at `;` unless it is quoted. */
const ITEM_VALUE = /(?:"[^"]*"|'[^']*'|[^;])*/y

/** Words that contain an `@` but no password: paths of files, lines of stacks. */
const PATH = /^(?:sqlite:|file:|[a-z]:\\.*:\d+:\d+)/i
const WEB_PAGE = /^https?:\/\//i

/** The form of a connection string in an error: `redis://[USER:PASSWORD@]HOST`. It holds no secret. */
const FORM = /^[a-z][\w.+[\]-]*:\/\/\[USER:PASSWORD@\][^@]*$/

/**
 * Replaces user, password and the secret values of the query by `***`. If a string can be read in more than one way, it
 * hides too much rather than too little.
 */
export function redactConnection(connection: string): string {
  return hideUser(hideParameters(connection))
}

/** Redacts each connection string in a text. URLs of pages without a user and forms of connection strings stay readable. */
export function redactText(text: string): string {
  return text.replaceAll(/\S+/g, (word) => {
    const shown = hideParameters(word)
    if (FORM.test(shown)) return shown
    const [opening = ''] = /^(?:[("'`[<{]|[\w-]+=)*/.exec(shown) ?? []
    const rest = shown.slice(opening.length)
    return hasUser(rest) ? opening + hideUser(rest) : shown
  })
}

/** Whether the word has an `@` that may end a user and a password. In the path of a page it does so only after a colon. */
function hasUser(word: string): boolean {
  const page = WEB_PAGE.exec(word)?.[0] ?? ''
  const colon = word.indexOf(':', page.length)
  return (colon >= 0 && colon < word.lastIndexOf('@')) || (page !== '' && /\/\/[^/]*@/.test(word))
}

/** Hides everything up to the last `@`, because a password may contain `@` and slashes. */
function hideUser(connection: string): string {
  return PATH.test(connection) ? connection : connection.replace(/^([a-z][\w.+-]*:\/\/)?.*@/is, '$1***@')
}

/** Hides list items first: a quoted value may contain what looks like a query parameter, whose value would include the closing quote. */
function hideParameters(connection: string): string {
  return hideValues(hideValues(connection, ITEM, ITEM_VALUE), PARAMETER, PARAMETER_VALUE)
}

function hideValues(text: string, key: RegExp, value: RegExp): string {
  let shown = ''
  let end = 0
  for (const match of text.matchAll(key)) {
    // The match may be inside a value that is already hidden.
    if (match.index < end || !SECRET_KEY.test(match[0])) continue
    const start = match.index + match[0].length
    value.lastIndex = start
    const [secret = ''] = value.exec(text) ?? []
    shown += text.slice(end, start) + mask(secret)
    end = start + secret.length
  }
  return shown + text.slice(end)
}

/** Keeps an `@` of the value: it may be the one before the host, and `hideUser` then hides the part in front of it too. */
function mask(value: string): string {
  return value.includes('@') ? '***@***' : '***'
}
