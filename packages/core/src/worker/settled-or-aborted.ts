/** Resolves when the work has resolved or the signal is aborted. Rejects if the work rejects first. */
export function settledOrAborted(signal: AbortSignal, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => resolve()
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort)
    work.then(() => resolve(), reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
