/**
 * Where tests end the process, as a power cut would: HYPERPARCEL_TEST_KILL_AT=n kills it with SIGKILL at the n-th point
 * that it passes. Points stand between steps that must survive that at any place.
 */
const killAt = Number(process.env['HYPERPARCEL_TEST_KILL_AT'] ?? 0)
let passed = 0

export function faultPoint(): void {
  if (killAt > 0 && ++passed === killAt) process.kill(process.pid, 'SIGKILL')
}
