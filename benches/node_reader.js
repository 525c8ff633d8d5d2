// `node node_reader.js WRITER BYTES`: string callbacks and a joined string, as Node users write it. Prints bytes per
// second and the seconds of processor time it took, after a warm-up.
const { spawn } = require("node:child_process");

function run(bytes) {
  return new Promise((resolve) => {
    const started = process.hrtime.bigint();
    const used = process.cpuUsage();
    const pieces = [];
    let seen = 0;
    const child = spawn(process.argv[2], [String(bytes)]);
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (text) => {
      seen += text.length;
      pieces.push(text);
    });
    child.on("close", () => {
      const joined = pieces.join("");
      if (seen !== bytes || joined.length !== bytes) throw new Error("output was lost");
      const seconds = Number(process.hrtime.bigint() - started) / 1e9;
      const { user, system } = process.cpuUsage(used);
      resolve([bytes / seconds, (user + system) / 1e6]);
    });
  });
}

const bytes = Number(process.argv[3]);
run(bytes).then(() => run(bytes)).then(([rate, cpu]) => console.log(rate, cpu));
