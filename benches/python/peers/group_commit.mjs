// A fair group commit in Node: an array, one writev and one fdatasync for whatever came meanwhile, promises.
// node group_commit.mjs FILE IN_FLIGHT SECONDS LINE_BYTES
import fs from "node:fs";
import { promisify } from "node:util";

const [path, inFlight, seconds, lineBytes] = process.argv.slice(2);
const writev = promisify(fs.writev);
const fdatasync = promisify(fs.fdatasync);
const file = fs.openSync(path, "a");
const line = Buffer.from(`{"text":"${"x".repeat(Number(lineBytes) - 11)}"}`);
const end = Buffer.from("\n");
let pending = [];
let isBusy = false;

async function commit() {
  isBusy = true;
  while (pending.length > 0) {
    const group = pending;
    pending = [];
    const parts = [];
    for (const [bytes] of group) parts.push(bytes, end);
    for (let at = 0; at < parts.length; at += 1024) await writev(file, parts.slice(at, at + 1024));
    await fdatasync(file);
    for (const [, resolve] of group) resolve();
  }
  isBusy = false;
}

function append(bytes) {
  return new Promise((resolve) => {
    pending.push([bytes, resolve]);
    if (!isBusy) commit();
  });
}

let count = 0;
const began = performance.now();
const until = began + Number(seconds) * 1000;
async function produce() {
  while (performance.now() < until) {
    await append(line);
    count += 1;
  }
}
await Promise.all(Array.from({ length: Number(inFlight) }, produce));
const took = (performance.now() - began) / 1000;
fs.closeSync(file);
fs.unlinkSync(path);
console.log(JSON.stringify({ per_second: count / took }));
