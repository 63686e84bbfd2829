/** Every size, count and time limit that more than one file must agree on. Bytes and milliseconds unless named otherwise. */

/** The unit of deduplication. */
export const CHUNK_BYTES = 4096
/** Chunks in one segment at most: 64 KiB before compression. */
export const SEGMENT_CHUNKS_MAX = 16
export const SEGMENT_DATA_BYTES = SEGMENT_CHUNKS_MAX * CHUNK_BYTES
/** A chunk id: BLAKE2b-256, keyed. */
export const CHUNK_ID_BYTES = 32
/** Chunks covered by one leaf of a volume's map: 4 MiB of the volume. */
export const MAP_LEAF_CHUNKS = 1024
/** Children of an inner node of a volume's map. */
export const MAP_FANOUT = 256

/** A log block on the wire or on disk, sealed. Anything larger is refused unread. */
export const BLOCK_BYTES_MAX = 1024 * 1024 + 4096
/** One frame between processes of one device. */
export const IPC_FRAME_BYTES_MAX = 32 * 1024 * 1024
/** NBD requests larger than this are answered with EINVAL (the NBD specification recommends 32 MiB). */
export const NBD_REQUEST_BYTES_MAX = 32 * 1024 * 1024

/** The longest path of a Unix socket on Linux, without the terminating zero. */
export const SOCKET_PATH_BYTES_MAX = 107

/** Logs that one version may reference; their table fits into its record. */
export const LOGS_PER_VERSION_MAX = 8192
/** A volume's size at most: 64 TiB. */
export const VOLUME_BYTES_MAX = 64 * 1024 ** 4
export const VOLUME_CHUNKS_MAX = VOLUME_BYTES_MAX / CHUNK_BYTES
/** Device state, decompressed. */
export const DEVICE_STATE_BYTES_MAX = 1024 ** 3

/** Levels of zstd that a parcel may have. Above, 64 KiB get no smaller worth the time. */
export const COMPRESSION_LEVEL_MIN = 1
export const COMPRESSION_LEVEL_MAX = 9
/**
 * Where nobody chose one. By `npm run bench -- compressor`, of a Debian's disk: level 1 is as fast and 8 % larger, level 6
 * is 3 % smaller and takes 2.6 times as long.
 */
export const COMPRESSION_LEVEL = 3
