/** What `npm pack` makes can be installed anywhere and runs, with one copy of Hypercore. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import { SKIPPED } from '../helpers/requirements.ts'
import { ROOT } from '../helpers/sources.ts'

const HYPERCORE = '11.37.1'
const UNREACHABLE = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|ENOTCACHED/

interface Packed {
  filename: string
  files: { path: string }[]
}

interface Tree {
  version?: string
  dependencies?: Record<string, Tree>
}

test('the package has what it needs and nothing else', async (t) => {
  const [{ files }] = await pack(t, ['--dry-run'])
  const names = files.map((file) => file.path)
  for (const needed of [
    'LICENSE',
    'README.md',
    'bin/setup.mjs',
    'dist/bin/hyperparcel.js',
    'dist/lib/cli/main.js',
    'npm-shrinkwrap.json',
    'package.json'
  ]) {
    t.ok(names.includes(needed), needed)
  }
  const allowed =
    /^(LICENSE|README\.md|package\.json|npm-shrinkwrap\.json|(dist\/)?(bin|examples)\/|dist\/lib\/)/
  t.alike(
    names.filter((name) => !allowed.test(name)),
    []
  )
})

test('installed elsewhere it runs', { timeout: 300_000 }, async (t) => {
  const directory = await temporary(t)
  const [{ filename }] = await pack(t, ['--pack-destination', directory])
  const prefix = path.join(directory, 'prefix')
  const tarball = path.join(directory, filename)
  const installed = await run('npm', ['install', '--global', '--prefix', prefix, tarball])
  if (installed.code !== 0 && UNREACHABLE.test(installed.stderr)) {
    const reason = 'needs a package registry that can be reached'
    if (process.env['CI'] === 'true') t.fail(reason)
    else t.comment(`${SKIPPED} ${reason}`)
    return
  }
  t.is(installed.code, 0, installed.stderr.slice(-500))

  const program = path.join(prefix, 'bin/hyperparcel')
  const help = await run(program, ['--help'])
  t.is(help.code, 0, help.stderr)
  t.ok(help.stdout.includes('Usage: hyperparcel'))
  const doctor = await run(program, ['--home', path.join(directory, 'home'), 'doctor', '--json'])
  t.is(typeof (JSON.parse(doctor.stdout) as { able: boolean }).able, 'boolean', doctor.stderr)

  const place = path.join(prefix, 'lib/node_modules/hyperparcel')
  t.absent(existsSync(path.join(place, 'node_modules/typescript')), 'without what only we need')
  const list = await run('npm', ['ls', 'hypercore', '--all', '--json'], place)
  t.alike([...versionsOf('hypercore', JSON.parse(list.stdout) as Tree)], [HYPERCORE])
})

function versionsOf(name: string, tree: Tree, found = new Set<string>()): Set<string> {
  for (const [dependency, below] of Object.entries(tree.dependencies ?? {})) {
    if (dependency === name && below.version !== undefined) found.add(below.version)
    versionsOf(name, below, found)
  }
  return found
}

/** Without scripts: what the tests run from is built already. */
async function pack(t: Assert, args: string[]): Promise<Packed[]> {
  const { code, stdout, stderr } = await run('npm', ['pack', '--json', '--ignore-scripts', ...args])
  t.is(code, 0, stderr.slice(-500))
  const result = JSON.parse(stdout) as Packed[] | Record<string, Packed>
  return Array.isArray(result) ? result : Object.values(result)
}

interface Run {
  code: number
  stdout: string
  stderr: string
}

function run(command: string, args: string[], cwd = ROOT): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()))
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? -1, stdout, stderr }))
  })
}

async function temporary(t: Assert): Promise<string> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'hpk-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }), { force: true })
  return directory
}
