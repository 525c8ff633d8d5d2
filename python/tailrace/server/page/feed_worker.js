// Shares one stream of events among all tabs.

import { openFeed } from "./feed_source.js";

const ports = new Set();
let isConnected = false;

openFeed((messages) => {
  for (const message of messages) if ("connected" in message) isConnected = message.connected;
  for (const port of ports) port.postMessage(messages);
});

self.onconnect = ({ ports: [port] }) => {
  ports.add(port);
  port.onmessage = () => ports.delete(port);
  port.postMessage([{ connected: isConnected }]);
};
