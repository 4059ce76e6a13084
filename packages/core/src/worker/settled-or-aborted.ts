/** Resolves when the work has settled well, or the signal is aborted: whichever is first. Rejects where the work does. */
export function settledOrAborted(signal: AbortSignal, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => resolve()
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort)
    work.then(() => resolve(), reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
