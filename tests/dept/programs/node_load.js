// The thread pool (files, zlib, crypto, DNS) and worker threads: node node_load.js DIRECTORY; prints digests.
const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
const crypto = require('crypto');
const dns = require('dns');
const fs = require('fs');
const util = require('util');
const zlib = require('zlib');

if (!isMainThread) {
  let sum = 0;
  for (let i = 0; i < 2e6; ++i) sum = (sum * 31 + i * workerData) % 1000003;
  parentPort.postMessage(sum);
} else {
  (async () => {
    const out = [];
    const gzip = util.promisify(zlib.gzip), gunzip = util.promisify(zlib.gunzip), pbkdf2 = util.promisify(crypto.pbkdf2);
    const tasks = [];
    for (let i = 0; i < 24; ++i) {
      tasks.push((async () => {
        const file = `${process.argv[2]}/node.${i}`;
        await fs.promises.writeFile(file, Buffer.alloc(100000, String(i)));
        const back = await gunzip(await gzip(await fs.promises.readFile(file)));
        const key = await pbkdf2(back.subarray(0, 100), 'salt', 5000, 16, 'sha256');
        await fs.promises.unlink(file);
        return key.toString('hex');
      })());
    }
    tasks.push(util.promisify(dns.lookup)('localhost').then(() => 'looked up'));
    out.push(...await Promise.all(tasks));
    for (let i = 1; i <= 4; ++i) {
      tasks[i] = new Promise((done, failed) => {
        const worker = new Worker(__filename, { workerData: i });
        worker.on('message', done).on('error', failed);
      });
    }
    out.push(...await Promise.all(tasks.slice(1, 5)));
    console.log(out.join('\n'));
  })();
}
