/** The lab's rows as a plot: seconds until the console answers, by rate, on logarithmic axes; ours beside ISR-2's. */
import type { LabRow } from './report.ts'

const WIDTH = 720
const HEIGHT = 440
const LEFT = 70
const RIGHT = 190
const TOP = 40
const BOTTOM = 60
const COLORS = ['#1b6ca8', '#d1495b', '#2e8b57', '#8e5ea2', '#c9822b']

interface Line {
  name: string
  color: string
  published: boolean
  /** Mb/s and seconds. */
  points: [number, number][]
}

export function plot(rows: LabRow[]): string {
  const lines = linesOf(rows)
  const points = lines.flatMap((line) => line.points)
  const x = scale(decades(points.map(([mbps]) => mbps)), LEFT, WIDTH - RIGHT)
  const y = scale(decades(points.map(([, seconds]) => seconds)), HEIGHT - BOTTOM, TOP)
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    `<text x="${LEFT}" y="20" font-size="14">Seconds from the command until the console answers (ISR-2, dashed: until the VM runs)</text>`,
    ...x.ticks.map((mbps) => tickX(x.at(mbps), `${mbps} Mb/s`)),
    ...y.ticks.map((seconds) => tickY(y.at(seconds), `${seconds} s`)),
    ...lines.flatMap((line, i) => [...drawn(line, x.at, y.at), ...legend(line, TOP + 10 + 20 * i)]),
    '</svg>'
  ]
  return `${parts.join('\n')}\n`
}

function linesOf(rows: LabRow[]): Line[] {
  const policies = [...new Set(rows.map(({ policy }) => policy))]
  return policies.flatMap((policy, i) => {
    const own = rows.filter((row) => row.policy === policy).toSorted((a, b) => a.mbps - b.mbps)
    const color = COLORS[i % COLORS.length]
    const ours: Line = {
      name: policy,
      color,
      published: false,
      points: own.map((row) => [row.mbps, row.interactive_ms / 1000])
    }
    const known = own.filter((row) => row.published_resume_s !== null)
    if (known.length === 0 || policy === 'working-set') return [ours]
    const points = known.map((row): [number, number] => [row.mbps, row.published_resume_s!])
    return [ours, { name: `ISR-2, ${policy}`, color, published: true, points }]
  })
}

/** Powers of ten around all of them. */
function decades(values: number[]): [number, number] {
  const low = Math.floor(Math.log10(Math.min(1, ...values)) + 1e-9)
  const high = Math.ceil(Math.log10(Math.max(10, ...values)) - 1e-9)
  return [low, high]
}

function scale([low, high]: [number, number], from: number, to: number) {
  const at = (value: number) =>
    Math.round((from + ((Math.log10(value) - low) / (high - low)) * (to - from)) * 10) / 10
  const ticks = Array.from({ length: high - low + 1 }, (_, i) =>
    Number((10 ** (low + i)).toPrecision(1))
  )
  return { at, ticks }
}

function tickX(x: number, text: string): string {
  return `<path d="M${x} ${TOP}V${HEIGHT - BOTTOM}" stroke="#ddd"/><text x="${x}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${text}</text>`
}

function tickY(y: number, text: string): string {
  return `<path d="M${LEFT} ${y}H${WIDTH - RIGHT}" stroke="#ddd"/><text x="${LEFT - 8}" y="${y + 4}" text-anchor="end">${text}</text>`
}

function drawn(
  { color, published, points }: Line,
  x: (value: number) => number,
  y: (value: number) => number
): string[] {
  const path = points.map(([mbps, seconds]) => `${x(mbps)} ${y(seconds)}`).join('L')
  const dots = points.map(
    ([mbps, seconds]) => `<circle cx="${x(mbps)}" cy="${y(seconds)}" r="3" fill="${color}"/>`
  )
  return [`<path d="M${path}" fill="none" stroke="${color}"${dash(published)}/>`, ...dots]
}

function legend({ name, color, published }: Line, y: number): string[] {
  const x = WIDTH - RIGHT + 15
  return [
    `<path d="M${x} ${y}h24" stroke="${color}"${dash(published)}/>`,
    `<text x="${x + 30}" y="${y + 4}">${name}</text>`
  ]
}

function dash(published: boolean): string {
  return published ? ' stroke-dasharray="5 4"' : ' stroke-width="2"'
}
