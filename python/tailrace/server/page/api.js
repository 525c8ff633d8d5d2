// Requests to the farm's API.

const BASE = "/api/v1";

let behind = 0; // ms, how far this machine's clock is behind the server's

/** @returns {number} seconds since the epoch on the server's clock: that of this machine may be wrong */
export const now = () => (Date.now() + behind) / 1000;

/** What the farm refused, or why it did not answer. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status that of the answer; 0 if there was none */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * Return what is answered, as it comes.
 * @param {string} path below /api/v1
 * @param {RequestInit} [options]
 * @returns {Promise<Response>} one that is a success; rejects with an ApiError otherwise, and as fetch does when aborted
 */
export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(BASE + path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the server does not answer", 0);
  }
  const difference = Date.parse(response.headers.get("Date")) - Date.now();
  // It has whole seconds, and the answer was on its way.
  if (!Number.isNaN(difference)) behind = Math.abs(difference) < 3000 ? 0 : difference;
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  if (response.status === 401) dispatchEvent(new Event("signedout"));
  throw new ApiError(told?.error?.message ?? `the server answered with status ${response.status}`, response.status);
}

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>} the JSON that is answered */
export async function get(path, signal) {
  return (await request(path, { signal })).json();
}

/** @param {string} method @param {string} path @param {any} [body] @returns {Promise<any>} the JSON that is answered */
export async function send(method, path, body) {
  const content =
    body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return (await request(path, { method, ...content })).json();
}
