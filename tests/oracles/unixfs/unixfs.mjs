// File CIDs as an independent importer computes them, every parameter given.
//
//   node unixfs.mjs stream CHUNK_SIZE MAX_LINKS SIZE...   "CHUNK_SIZE MAX_LINKS SIZE CID" a line
//   node unixfs.mjs file CHUNK_SIZE MAX_LINKS PATH...     "CID  PATH" a line
//
// stream: the first SIZE bytes of a generated stream (tests/support/byte_stream.h makes the same).
import { createReadStream } from 'node:fs'
import { importByteStream } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'

// xorshift32 from 1, each word little-endian.
function * generate (size) {
  let x = 1
  while (size > 0) {
    const words = new Uint32Array(1 << 16)
    for (let i = 0; i < words.length; i++) {
      x ^= x << 13
      x ^= x >>> 17
      x ^= x << 5
      words[i] = x
    }
    const bytes = new Uint8Array(words.buffer)
    yield size < bytes.length ? bytes.subarray(0, size) : bytes
    size -= bytes.length
  }
}

const discard = { put: async (cid) => cid }

async function cidOf (content, chunkSize, maxChildrenPerNode) {
  const options = {
    chunker: fixedSize({ chunkSize }),
    layout: balanced({ maxChildrenPerNode }),
    rawLeaves: true,
    cidVersion: 1,
    reduceSingleLeafToSelf: true,
    fieldOrder: 'links-first'
  }
  const result = await importByteStream(content, discard, options)
  return result.cid.toString()
}

const [mode, chunkSize, maxLinks, ...rest] = process.argv.slice(2)
for (const item of rest) {
  if (mode === 'stream') {
    const cid = await cidOf(generate(Number(item)), Number(chunkSize), Number(maxLinks))
    console.log(chunkSize, maxLinks, item, cid)
  } else {
    console.log(await cidOf(createReadStream(item), Number(chunkSize), Number(maxLinks)) + '  ' + item)
  }
}
