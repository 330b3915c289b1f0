import { spawn } from "node:child_process";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { redactText } from "../internal/redact.js";
import { accessEnvironment, type GitAccess, unverifiedEnvironment } from "./git-access.js";

/** How git is run for one repository. */
export interface GitSetting {
  /** Where it runs. */
  readonly cwd: string;
  /** Where it runs in, in place of the user's home; no repository is looked for at or above it. */
  readonly home: string;
  /** For messages. */
  readonly shown: string;
  /** The program's own; only what `PASSED` names reaches git. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly access?: GitAccess | undefined;
  /** An https origin whose certificate is not verified; every other one's is. */
  readonly unverified?: string | undefined;
  /** The directory of a git that brings along all that it starts, see `gitBeside`; absent: the one of PATH. */
  readonly program?: string | undefined;
  readonly signal: AbortSignal;
}

export interface GitResult {
  readonly code: number | null;
  readonly stdout: string;
  /** The end of it, when it is long. */
  readonly stderr: string;
}

/** Bytes; a list of matching refs, or one object's id. */
const MAX_STDOUT = 16 * 1024 * 1024;
/** Characters; the reason stands at the end. */
const MAX_STDERR = 16 * 1024;
const MAX_SHOWN = 400;
const INSTALL_GIT =
  "install git (the package git, and openssh-client for ssh addresses), or clone the repository before the build and COPY it";
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Ways to the network, and nothing by which a repository's checkout could differ. */
const PASSED = [
  ..."PATH SSH_AUTH_SOCK GIT_SSL_CAINFO GIT_SSL_CAPATH SSL_CERT_FILE SSL_CERT_DIR".split(" "),
  "NODE_EXTRA_CA_CERTS", // of our own transport
  ..."HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY".split(" "),
  ..."http_proxy https_proxy no_proxy all_proxy".split(" "),
];

/** Over every configuration file, and for the git processes of submodules too. */
const CONFIG: readonly string[] = [
  // A repository must not run programs.
  "core.hooksPath=/dev/null",
  "submodule.recurse=false",
  // Nothing is worth the wait for the disk, nor goes on in the background.
  "core.fsync=none",
  "gc.auto=0",
  "maintenance.auto=false",
  "core.logAllRefUpdates=false",
  // Objects come as a pack, which is whole or not there; loose ones would be left behind by a killed process, some of them.
  "fetch.unpackLimit=1",
  "advice.detachedHead=false",
  "init.defaultBranch=main",
  "credential.helper=",
  // Less than a byte a second for two minutes: a dead server.
  "http.lowSpeedLimit=1",
  "http.lowSpeedTime=120",
];

/** Constant text: what is secret is in the environment, not in an argument that everybody can list. */
const CREDENTIAL_HELPER =
  '!f() { test "$1" = get || return 0; printf "username=%s\\npassword=%s\\n" "$TSBUILD_GIT_USERNAME" "$TSBUILD_GIT_PASSWORD"; }; f';

/**
 * Runs git, whatever its exit code says. It has no terminal, no configuration but `CONFIG`, and a process group of its
 * own, which is killed on abort.
 * @throws TsbuildError CONTEXT_UNREADABLE where there is no git
 */
export async function runGit(args: readonly string[], setting: GitSetting): Promise<GitResult> {
  setting.signal.throwIfAborted();
  try {
    return await start(args, setting);
  } catch (error) {
    setting.signal.throwIfAborted();
    if (error instanceof TsbuildError) throw error;
    const missing = errnoOf(error) === "ENOENT";
    throw new TsbuildError(
      "CONTEXT_UNREADABLE",
      `tried to fetch ${setting.shown}: ${missing ? "git is not installed" : `git could not be run: ${messageOf(error)}`}`,
      { cause: error, hint: missing ? INSTALL_GIT : "clone the repository before the build" },
    );
  }
}

/** Runs git, which must succeed. @throws TsbuildError CONTEXT_UNREADABLE */
export async function git(args: readonly string[], setting: GitSetting): Promise<string> {
  const result = await runGit(args, setting);
  if (result.code !== 0) throw gitFailure(result, setting);
  return result.stdout;
}

/** What git said, in one line and without secrets. */
export function gitFailure(result: GitResult, setting: GitSetting): TsbuildError {
  const lines = redactText(result.stderr)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const told = lines.filter((line) => /^(?:fatal|error|remote|ssh): /.test(line));
  const said = [...new Set(told.length > 0 ? told : lines.slice(-1))]
    .join("; ")
    .slice(0, MAX_SHOWN);
  const why = said === "" ? `git ended with ${result.code ?? "a signal"}` : said;
  return new TsbuildError(
    "CONTEXT_UNREADABLE",
    `tried to fetch ${setting.shown}: ${hidePassword(why, setting)}`,
    hintFor(said, setting),
  );
}

function hintFor(said: string, { access }: GitSetting): { readonly hint?: string } {
  const isHeader = access !== undefined && "header" in access;
  if (/cannot run ssh|remote-https?' is not a git command/i.test(said))
    return { hint: INSTALL_GIT };
  if (isHeader && /\b30[1278]\b|redirect/i.test(said)) {
    return {
      hint: "with a secret GIT_AUTH_HEADER redirects are not followed: name the address that it leads to",
    };
  }
  return /could not read Username|Authentication failed|Permission denied|error: 40[13]/i.test(said)
    ? { hint: "the repository asks for credentials that were not given, or refused them" }
    : {};
}

function hidePassword(text: string, { access }: GitSetting): string {
  const secrets =
    access === undefined
      ? []
      : "header" in access
        ? [access.header, ...access.header.split(/\s+/).slice(1)]
        : [access.credentials.password];
  return secrets
    .filter((secret) => secret !== "")
    .reduce((shown, secret) => shown.replaceAll(secret, "***"), text);
}

function start(args: readonly string[], setting: GitSetting): Promise<GitResult> {
  const { cwd, signal } = setting;
  return new Promise((resolve, reject) => {
    const child = spawn("git", [...configArguments(setting), ...args], {
      cwd,
      env: environmentOf(setting),
      stdio: ["ignore", "pipe", "pipe"],
      // Its helpers (git-remote-https, ssh) are in the group; without a terminal nobody is asked.
      detached: true,
    });
    const kill = (): void => {
      if (child.pid !== undefined) killGroup(child.pid);
    };
    let tooMuch = false;
    let size = 0;
    const stdout: Buffer[] = [];
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      size += chunk.length;
      tooMuch ||= size > MAX_STDOUT;
      if (tooMuch) kill();
      else stdout.push(chunk);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-MAX_STDERR);
    });
    signal.addEventListener("abort", kill, { once: true });
    child.on("error", (error) => {
      signal.removeEventListener("abort", kill);
      reject(error);
    });
    child.on("close", (code) => {
      signal.removeEventListener("abort", kill);
      if (signal.aborted) reject(signal.reason);
      else if (tooMuch) reject(new Error(`more than ${MAX_STDOUT} bytes of output`));
      else resolve({ code, stdout: Buffer.concat(stdout).toString("utf8"), stderr });
    });
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if (errnoOf(error) !== "ESRCH") throw error;
  }
}

function configArguments({ access, program, unverified }: GitSetting): readonly string[] {
  const own =
    // Our transport has the access from the environment. The helper would be run by /bin/sh, whosever that is.
    access === undefined || program !== undefined
      ? []
      : "header" in access
        ? // It is git that sends the header, and it would send it on to another host.
          ["http.followRedirects=false"]
        : [`credential.${access.origin}.helper=${CREDENTIAL_HELPER}`];
  const trusted = unverified === undefined ? [] : [`http.${unverified}/.sslVerify=false`];
  return [...CONFIG, ...own, ...trusted].flatMap((entry) => ["-c", entry]);
}

function environmentOf(setting: GitSetting): Record<string, string> {
  const passed: Record<string, string> = { PATH: DEFAULT_PATH };
  for (const name of PASSED) {
    const value = setting.environment[name];
    if (value !== undefined && value !== "") passed[name] = value;
  }
  // libcurl itself does not read these two.
  const caFile = passed["GIT_SSL_CAINFO"] ?? passed["SSL_CERT_FILE"];
  const caPath = passed["GIT_SSL_CAPATH"] ?? passed["SSL_CERT_DIR"];
  return {
    ...passed,
    ...(caFile === undefined ? {} : { GIT_SSL_CAINFO: caFile }),
    ...(caPath === undefined || caPath.includes(":") ? {} : { GIT_SSL_CAPATH: caPath }),
    HOME: setting.home,
    XDG_CONFIG_HOME: setting.home,
    LC_ALL: "C",
    GIT_TERMINAL_PROMPT: "0",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_OPTIONAL_LOCKS: "0",
    GIT_CEILING_DIRECTORIES: setting.home,
    // Of submodules too: no file://, by which a repository could read this machine, and no ext::, which runs programs.
    GIT_ALLOW_PROTOCOL: "http:https:ssh:git",
    GIT_TEMPLATE_DIR: "",
    ...programEnvironment(setting.program),
    ...accessEnvironment(setting.access),
    ...unverifiedEnvironment(setting.unverified),
  };
}

/** What git starts comes from its own directory alone where it has one: there, `ssh` has these flags by itself. */
function programEnvironment(program: string | undefined): Record<string, string> {
  if (program !== undefined) return { PATH: program, GIT_EXEC_PATH: program };
  // A host that is new is trusted, as BuildKit does; a host whose key has changed is not.
  return {
    GIT_SSH_COMMAND: "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
  };
}
