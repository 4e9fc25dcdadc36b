// The Node helper library's algorithm, written anew: the URL goes through WHATWG's parser and back, with and without its port.
import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";

const code = (token, url, parameters) => {
  const text = Object.keys(parameters).sort().reduce((sum, name) => sum + name + parameters[name], url);
  return createHmac("sha1", token).update(Buffer.from(text, "utf-8")).digest("base64");
};

const withoutPort = (url) => {
  const parsed = new URL(url);
  parsed.port = "";
  return parsed.toString();
};

const withPort = (url) => {
  const parsed = new URL(url);
  if (parsed.port) return parsed.toString();
  const port = parsed.protocol === "https:" ? ":443" : ":80";
  return `${parsed.protocol}//${parsed.host}${port}${parsed.pathname}${parsed.search}${parsed.hash}`;
};

const accepts = ({ url, body, form, token, signature }) => {
  const parameters = form ? Object.fromEntries(new URLSearchParams(body)) : {};
  if (!form) {
    const digest = new URL(url).searchParams.get("bodySHA256") ?? "";
    if (createHash("sha256").update(Buffer.from(body, "utf-8")).digest("hex") !== digest) return false;
  }
  return [withoutPort(url), withPort(url)].some((text) => code(token, text, parameters) === signature);
};

// A URL that cannot be parsed is none that was signed.
const answer = (request) => {
  try {
    return accepts(request);
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
};

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf-8")).map(answer)));
