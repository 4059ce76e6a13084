import type { Connection, SqlValue, Statement } from './driver.ts'

/** Statements by their text, each prepared once. What reads and writes the tables takes one of these. */
export class Sql {
  readonly #connection: Connection
  readonly #statements = new Map<string, Statement>()

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** How many rows changed. */
  run(sql: string, ...parameters: readonly SqlValue[]): number {
    return this.prepare(sql).run(parameters)
  }

  all(sql: string, ...parameters: readonly SqlValue[]): readonly (readonly SqlValue[])[] {
    return this.prepare(sql).all(parameters)
  }

  /** The columns of the first row; none where there is no row. */
  first(sql: string, ...parameters: readonly SqlValue[]): readonly SqlValue[] | undefined {
    return this.prepare(sql).all(parameters)[0]
  }

  prepare(sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#connection.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }
}
