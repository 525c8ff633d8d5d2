// `node node_reader.js WRITER BYTES`: string callbacks and a joined string, as Node users write it. Prints bytes per
// second, after a warm-up.
const { spawn } = require("node:child_process");

function run(bytes) {
  return new Promise((resolve) => {
    const started = process.hrtime.bigint();
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
      resolve(bytes / (Number(process.hrtime.bigint() - started) / 1e9));
    });
  });
}

const bytes = Number(process.argv[3]);
run(bytes).then(() => run(bytes)).then((rate) => console.log(rate));
