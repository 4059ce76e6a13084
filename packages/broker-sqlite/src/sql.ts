import type { Connection, SqlValue, Statement } from './driver.ts'

/** Statements by their text, each prepared once. All functions that read and write tables get one of these. */
export class Sql {
  readonly #connection: Connection
  readonly #statements = new Map<string, Statement>()

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** Returns the number of changed rows. */
  run(sql: string, ...parameters: readonly SqlValue[]): number {
    return this.prepare(sql).run(parameters)
  }

  all(sql: string, ...parameters: readonly SqlValue[]): readonly (readonly SqlValue[])[] {
    return this.prepare(sql).all(parameters)
  }

  /** The columns of the first row; undefined if there is none. */
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
