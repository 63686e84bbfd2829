/** `versions 1 to 4, 7`. */
export function versionList(numbers: number[]): string {
  if (numbers.length === 0) return 'no version'
  const runs: string[] = []
  for (let i = 0, next = 0; i < numbers.length; i = next) {
    next = i + 1
    while (next < numbers.length && numbers[next] === numbers[next - 1] + 1) next++
    runs.push(next - i > 1 ? `${numbers[i]} to ${numbers[next - 1]}` : `${numbers[i]}`)
  }
  return `${numbers.length === 1 ? 'version' : 'versions'} ${runs.join(', ')}`
}
