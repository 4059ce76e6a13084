/**
 * Keeps room on the disk. Every change, also the removal of a job, is first appended to the `-wal` file, and the checkpoint that
 * moves it into the queue file may enlarge that file. On a disk without a free byte no job could leave the queue. So new jobs
 * are refused while workers still have room to finish, and the size of the `-wal` file is bounded.
 */
import { statfsSync, statSync } from 'node:fs'
import { BrokerError } from '@zyqueue/core/broker'
import { SCHEMA } from './attach.ts'
import { integer } from './decode.ts'
import type { Sql } from './sql.ts'

/** New jobs leave this many bytes free, or an eighth of a small disk. SQLite's own checkpoint runs at 4 MB of `-wal`. */
const RESERVE_BYTES = 4 * 1024 * 1024
const SHARE_OF_SMALL = 1 / 8

/** The `-wal` file is cut to this size, in bytes, when it starts again after a large transaction. */
export const WAL_BYTES = 8 * 1024 * 1024

export class Room {
  readonly #path: string
  readonly #sql: Sql

  constructor(path: string, sql: Sql) {
    this.#path = path
    this.#sql = sql
  }

  /**
   * Called before a transaction that stores `jobBytes` of jobs, or 0. Moves the `-wal` file into the queue file while that file can
   * still grow by its size. Throws `ZYQ_BROKER_FULL` if new jobs would take the room that workers need.
   */
  ensure(jobBytes: number): void {
    if (this.#fits(jobBytes)) return
    this.checkpoint()
    if (jobBytes === 0 || this.#fits(jobBytes)) return
    throw new BrokerError(
      'ZYQ_BROKER_FULL',
      `The disk is full: ${this.#disk().free} bytes are free at ${this.#path}, and workers need them to finish jobs`,
    )
  }

  #fits(jobBytes: number): boolean {
    const { free, reserve } = this.#disk()
    // A checkpoint makes the queue file larger by at most the `-wal` file.
    const left = free - this.#walBytes()
    // Jobs need their size twice: in the `-wal` file and in the queue file.
    if (left >= reserve + 2 * jobBytes) return true
    if (left < reserve / 2 + jobBytes) return false
    return jobBytes === 0 || left + this.#unusedBytes() >= reserve + 2 * jobBytes
  }

  /** Moves the `-wal` file into the queue file, and empties it. Returns false if it could not. */
  checkpoint(): boolean {
    try {
      return integer(this.#sql.first(`PRAGMA ${SCHEMA}.wal_checkpoint(TRUNCATE)`)?.[0]) === 0
    } catch {
      // Another process holds a lock, or the disk has no free byte.
      return false
    }
  }

  #disk(): { readonly free: number; readonly reserve: number } {
    const { bavail, blocks, bsize } = statfsSync(this.#path)
    // This file system does not report its size.
    if (blocks === 0) return { free: Infinity, reserve: 0 }
    return { free: bavail * bsize, reserve: Math.min(RESERVE_BYTES, blocks * bsize * SHARE_OF_SMALL) }
  }

  #walBytes(): number {
    return statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  }

  /** Free pages of the queue file. */
  #unusedBytes(): number {
    const [pages, bytes] = ['freelist_count', 'page_size'].map((name) =>
      integer(this.#sql.first(`PRAGMA ${SCHEMA}.${name}`)?.[0]),
    )
    return (pages ?? 0) * (bytes ?? 0)
  }
}
