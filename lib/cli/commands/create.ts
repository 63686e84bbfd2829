import path from 'node:path'
import type { CliCommand } from '../command.ts'
import { usage } from '../failure.ts'
import { warnOfLowSpace } from '../low-space.ts'
import { collect, parseCount, parseLevel, parseParcelVersion, parseSize } from '../parse.ts'
import { formatBytes } from '../ui/format.ts'

interface Options {
  disk?: string[]
  size?: number
  iso?: string
  from?: { parcel: string; version?: number }
  memory?: number
  cpus?: number
  kernel?: string
  initrd?: string
  append?: string
  vmm: string
  compression?: number
}

export const create: CliCommand = {
  usage: 'create <name>',
  summary: 'make a parcel from images, a blank disk or another parcel',
  details:
    'Makes version 1 of a parcel, which has no memory image yet and boots. Images are raw or qcow2; they are read once and not needed afterwards. With --from it has the disks of the other parcel as that version left them: a copy that costs neither time nor space.',
  example:
    'hyperparcel create work --disk debian.qcow2 --memory 2G --cpus 2\nhyperparcel create fresh --size 20G --iso debian-installer.iso\nhyperparcel create copy --from work@3\nhyperparcel create lab --disk root.ext4 --kernel vmlinuz --initrd initrd.img --append "root=/dev/vda console=ttyS0"',
  options(command) {
    command
      .option('--disk <file>', 'an image as a disk; may be repeated', collect)
      .option('--size <size>', 'a blank disk of that size', parseSize)
      .option('--iso <file>', 'an installer to boot from')
      .option('--from <parcel[@version]>', 'the disks of another parcel', parseParcelVersion)
      .option('--memory <size>', "the guest's RAM (512M by default)", parseSize)
      .option('--cpus <n>', "the guest's processors (1 by default)", parseCount(1))
      .option('--kernel <file>', 'boot this Linux kernel directly')
      .option('--initrd <file>', 'with that initial RAM disk')
      .option('--append <string>', 'with that command line')
      .option(
        '--compression <level>',
        'how hard what is added is compressed, 1 to 9 (3 by default)',
        parseLevel
      )
      .option('--vmm <name>', 'virtual machine monitor', 'qemu')
  },
  async run(context, [name], options: Options) {
    checkTogether(options)
    const absolute = (file: string) => path.resolve(context.io.cwd, file)
    const result = await context.request('create', {
      name,
      disks: (options.disk ?? []).map(absolute),
      sizeBytes: options.size,
      iso: options.iso === undefined ? undefined : absolute(options.iso),
      from: options.from,
      memoryBytes: options.memory,
      cpus: options.cpus,
      compression: options.compression,
      kernel:
        options.kernel === undefined
          ? undefined
          : {
              kernel: absolute(options.kernel),
              initrd: options.initrd === undefined ? undefined : absolute(options.initrd),
              append: options.append ?? ''
            },
      vmm: options.vmm
    })
    const text =
      options.from !== undefined
        ? `Created ${result.parcel} from ${options.from.parcel}. Start it with \`${context.typed(`resume ${result.parcel}`)}\`.`
        : `Created ${result.parcel}: read ${formatBytes(result.bytes_read)}, stored ${formatBytes(result.bytes_stored)}. Start it with \`${context.typed(`resume ${result.parcel}`)}\`.`
    warnOfLowSpace(context, result.low_space)
    return { json: result, text }
  }
}

function checkTogether(options: Options): void {
  if (options.kernel === undefined && (options.initrd ?? options.append) !== undefined) {
    throw usage('--initrd and --append need --kernel')
  }
  const { from, disk, size, iso, kernel } = options
  if (from !== undefined && (disk ?? size ?? iso ?? kernel) !== undefined) {
    throw usage('--from takes all disks from the other parcel: leave the images and --size out')
  }
  if (options.disk === undefined && options.size === undefined && options.from === undefined) {
    if (options.kernel === undefined && options.iso === undefined) {
      throw usage(
        'A parcel needs something to boot from',
        'Say --disk, --size, --iso, --from or --kernel.'
      )
    }
  }
}
