/**
 * What runs in the guest: a loop that builds the same files over and over and compares what comes out with what came
 * out first, so that one wrong byte in its memory or on its disk is noticed sooner or later.
 *
 * In RAM (`/run/soak`): `state` (finished builds, wrong ones), `pieces` (a byte for each file built), `first` (checksums
 * of the first build), `pid`. On the disk (`/root/soak`): sources, results, and what was wrong.
 */

/** How one file is made, by guest. */
export type Work = 'compile' | 'compress'

export const SECRET = '/run/secret'

/** Writes C files: functions that mix their input in many ways, so that an optimizer has something to do. */
export const GENERATE = `
mkdir -p src
for u in $(seq 1 $1); do
awk -v u=$u 'BEGIN {
  srand(u)
  print "#include <stddef.h>\\n#include <stdint.h>\\n#include <string.h>\\n"
  for (f = 0; f < 4; f++) {
    printf "static const uint32_t table_%d[32] = {", f
    for (i = 0; i < 32; i++) printf "%du,", int(rand() * 2000000000)
    printf "};\\nuint32_t mix_%d_%d(const uint8_t *p, size_t n, uint32_t h) {\\n", u, f
    printf "  uint32_t seen[16];\\n  memset(seen, %d, sizeof seen);\\n", int(rand() * 255)
    printf "  for (size_t i = 0; i < n; i++) {\\n    switch ((p[i] + i) %% 7) {\\n"
    for (c = 0; c < 7; c++) {
      printf "    case %d: h = (h ^ table_%d[(h >> %d) & 31]) * %du; ", c, f, c + 3, 2 * int(rand() * 1000000) + 1
      printf "seen[h & 15] += h << %d; break;\\n", 1 + int(rand() * 13)
    }
    printf "    }\\n  }\\n  for (int i = 0; i < 16; i++) h = h * 31 + seen[i];\\n"
    if (f > 0) printf "  if (h & 1) h ^= mix_%d_%d(p, n / 2, h);\\n", u, f - 1
    printf "  return h;\\n}\\n\\n"
  }
}' > src/unit$u.c
done
`

/** `compile` with gcc, two at a time; `compress` with what every small system has. */
const BUILD: Record<Work, string> = {
  compile: 'make -s -j2 -f compile.mk all',
  compress: `for f in src/*.c; do
    b=\${f##*/}
    gzip -9 < $f > obj/$b.o || return 1
    printf . >> /run/soak/pieces
  done`
}

export const MAKEFILE = `OBJECTS := $(patsubst src/%.c,obj/%.o,$(sort $(wildcard src/*.c)))
all: $(OBJECTS)
obj/%.o: src/%.c
	gcc -O1 -c $< -o $@ && printf . >> /run/soak/pieces
`

export function loopScript(work: Work): string {
  return `
build() {
  ${BUILD[work]}
}
mkdir -p /run/soak wrong
echo $$ > /run/soak/pid
builds=0 wrong=0
echo "$builds $wrong" > /run/soak/state
while :; do
  rm -rf obj
  mkdir obj
  ok=1
  build > log 2>&1 || ok=0
  sync
  echo 1 > /proc/sys/vm/drop_caches
  (cd obj; sha256sum *) > sums 2>&1
  [ -f /run/soak/first ] || cp sums /run/soak/first
  cmp -s sums /run/soak/first || ok=0
  if [ $ok = 0 ]; then
    wrong=$((wrong+1))
    mkdir -p wrong/$builds
    cp -r log sums obj wrong/$builds
  fi
  builds=$((builds+1))
  echo "$builds $wrong" > /run/soak/state.new
  mv /run/soak/state.new /run/soak/state
done
`
}

/** Of the guest's kernel: none of these belongs into a healthy one's log. */
const COMPLAINTS = [
  'EXT4-fs (error|warning)',
  'I/O error',
  'segfault',
  'general protection',
  'Machine Check',
  'mce: .*error',
  'BUG:',
  'Oops',
  'Call Trace',
  'blocked for more than',
  'soft lockup',
  'detected stalls',
  'Out of memory',
  'Bad page',
  'corrupt'
]

/** Says how the guest is, a word and a value in each line. \`$1\`: wait until the counter is beyond that, for 10 s at most. */
export const LOOK = `
n=0
while [ "$(cat /run/tick)" -le $1 ] && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.1; done
echo "tick $(cat /run/tick)"
echo "boot $(cat /proc/sys/kernel/random/boot_id)"
echo "uptime $(cut -d' ' -f1 /proc/uptime)"
echo "clock $(date +%s)"
read builds wrong < /run/soak/state
echo "builds $builds"
echo "wrong $wrong"
echo "pieces $(wc -c < /run/soak/pieces)"
echo "working $(kill -0 $(cat /run/soak/pid) 2>/dev/null && echo yes || echo no)"
echo "writable $(touch probe 2>/dev/null && echo yes || echo no)"
echo "secret $(sha256sum ${SECRET} | cut -c1-64)"
dmesg | grep -E '${COMPLAINTS.join('|')}' | sed 's/^/complaint /'
`
