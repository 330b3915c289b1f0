import type { Readable } from "node:stream";
import type { ResourceLimit } from "../worker/sandbox/types.js";
import type { DriverName, LayerMounts } from "../worker/types.js";
import type { Compression, Descriptor, ImageFormat } from "../oci/types.js";
import type { KeychainSource } from "../registry/keychain.js";
import type { Keychain } from "../registry/types.js";

/** Everything that a build can be told. Paths are relative to the process's working directory. */
export interface BuildOptions {
  /**
   * The files that COPY and ADD read: a directory (also `dir://PATH`), a tar (`tar://PATH`, or `-` for `stdin`; plain or
   * compressed), an `http(s)://` address of a tar, or a git repository: `https://host/path.git#ref:subdir`,
   * `github.com/owner/name`, `git@host:path`, and Kaniko's `git://[token@]host/path[#ref][#commit]`, which goes over https
   * or what `GIT_PULL_METHOD` says. `GIT_TOKEN`, or `GIT_USERNAME` and `GIT_PASSWORD`, are for its host.
   */
  readonly context: string;
  /** More about a `context` that is a git repository. */
  readonly git?: GitContext;
  /** A directory of the context that takes its place. */
  readonly contextSubPath?: string;
  /** What the context `-` is read from; destroyed at its end. */
  readonly stdin?: Readable;
  /** An http(s) address, or looked up as given, then below the context; the other way round where the context was fetched. Default: `Dockerfile`. */
  readonly dockerfile?: string;
  /** A stage's name in any case. Default: the last stage. */
  readonly target?: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** `os/architecture[/variant]`. Default: the machine's. */
  readonly platform?: string;

  /** What `RUN --mount=type=secret,id=…` reads: a file, or a variable of `environment`. */
  readonly secrets?: Readonly<Record<string, { readonly file: string } | { readonly env: string }>>;
  /**
   * What `RUN --mount=type=ssh,id=…` names: an ssh agent's socket, of which steps can list keys and have signatures; or
   * files with private keys, which never leave this process; or `raw`, a socket that is handed on as it is.
   */
  readonly sshAgents?: Readonly<
    Record<string, string | readonly string[] | { readonly raw: string }>
  >;
  /**
   * Rights beyond a step's own that a RUN may ask for: `network.host`, `security.insecure`, `device` or
   * `device=NAME[,alias=ALIAS]`.
   */
  readonly allow?: readonly string[];
  /** Where CDI describes devices, by JSON files. Default: `/etc/cdi` and `/var/run/cdi`. */
  readonly cdiSpecDirectories?: readonly string[];
  /** The network of a RUN that does not name one. Default: `default`, which is the host's. */
  readonly network?: "default" | "none" | "host";
  /** `name:address`: lines of a step's /etc/hosts. */
  readonly addHosts?: readonly string[];
  /** What a step calls its machine; comes before the build argument `BUILDKIT_SANDBOX_HOSTNAME`. Default: `buildkitsandbox`. */
  readonly hostname?: string;
  /** Bytes of a step's /dev/shm. Default: 64 MiB. */
  readonly shmSize?: number;
  /** Limits of a step's processes. */
  readonly ulimits?: readonly ResourceLimit[];
  /**
   * Named contexts: a directory, a git repository, an `http(s)://` address of a tar, `docker-image://reference` or
   * `oci-layout://PATH[:tag|@digest]`. What has to be fetched is fetched when it is first needed. A name may
   * end in the platform that it is for, `busybox::linux/arm64`, which comes before the name alone.
   */
  readonly buildContexts?: Readonly<Record<string, string>>;

  /** References to push to. */
  readonly destinations?: readonly string[];
  /** `false`: the destinations only name the image. Default: true. */
  readonly push?: boolean;
  /** Writes an archive that `docker load` reads. */
  readonly tarPath?: string;
  readonly ociLayoutPath?: string;
  /** Further places to write to, in this order. */
  readonly outputs?: readonly Output[];
  /**
   * Annotations of the manifests. A name may begin with what carries it, as buildx spells that: `index:name`,
   * `manifest-descriptor:name`, `manifest[linux/amd64]:name`.
   */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Written last, when everything else is complete. */
  readonly digestFile?: string;
  /** The image's id, the digest of its config; an index's own digest. */
  readonly iidFile?: string;
  /** What was made, as the JSON that buildx writes. */
  readonly metadataFile?: string;
  readonly imageNameWithDigestFile?: string;
  readonly imageNameTagWithDigestFile?: string;

  readonly compression?: Compression;
  readonly compressionLevel?: number;
  /** The base's layers are compressed again where they are compressed in another way. */
  readonly forceCompression?: boolean;
  /** Default: the base image's, OCI from scratch. */
  readonly imageFormat?: ImageFormat;
  /** Times become `SOURCE_DATE_EPOCH` (a build argument or the environment's), or 0. */
  readonly reproducible?: boolean;
  /** Later times of files become `SOURCE_DATE_EPOCH`; without one they stay. Every output has the same image. */
  readonly rewriteTimestamp?: boolean;

  /** Where blobs and unpacked layers are kept between builds. Default: `$TSBUILD_STORE`, `$XDG_CACHE_HOME/tsbuild`, `~/.cache/tsbuild`. */
  readonly store?: string;
  /** Layers of earlier builds are used again where nothing that decides them has changed. Default: true. */
  readonly cache?: boolean;
  /** Layers are also looked for in a registry, and put there: Kaniko's `--cache=true`. Default: the store alone. */
  readonly registryCache?: RegistryCache;
  /**
   * A reference, or `oci:DIRECTORY`: what `RUN --mount=type=cache` keeps comes from there where this machine has none, and
   * is put there after the build.
   */
  readonly cacheMounts?: string;
  /**
   * Where Kaniko's warmer has laid base images ready, as OCI layouts that are named by their digests; only read. Those that
   * are older than the registry cache's `ttl` are pulled.
   */
  readonly cacheDirectory?: string;
  /** Where layers of earlier builds are looked for besides. What is not there, or cannot be read, is no error. */
  readonly cacheFrom?: readonly CacheSource[];
  /** Where the build's layers are written for later ones, at its end. A failure is said, and is none of the build. */
  readonly cacheTo?: readonly CacheTarget[];
  /** Nothing is taken from the cache, or nothing for the stages of these names; what is made is kept all the same. */
  readonly noCache?: boolean | readonly string[];
  /**
   * What the store may keep after the build: bytes, `20GB`, `10%` of the disk, or `none`: no bound. Default:
   * `$TSBUILD_KEEP_STORAGE`, else 80 % of the disk, 100 GB at most, while a fifth of it is free.
   */
  readonly keepStorage?: number | string;
  readonly driver?: "auto" | DriverName;
  /** Default `auto`: where the kernel can, layers are mounted as they are instead of unpacked. */
  readonly layerMounts?: LayerMounts;
  /** Refuse a driver with which an image may lack something, or have another owner, instead of saying so. */
  readonly strict?: boolean;
  /** For the driver `in-place`, which makes a container's own "/" each stage's root in turn. */
  readonly inPlace?: InPlaceBuild;
  /** Leaves the result's files in "/": asks for the driver `in-place`. */
  readonly materialize?: boolean;
  /** All that the build adds to its base becomes one layer. */
  readonly singleSnapshot?: boolean;

  readonly insecurePush?: boolean;
  readonly insecurePull?: boolean;
  /** `host[:port]` */
  readonly insecureRegistries?: readonly string[];
  /** Certificates of registries are not verified, for pushes and for pulls. */
  readonly skipTlsVerify?: boolean;
  /** The same for pulls alone. */
  readonly skipTlsVerifyPull?: boolean;
  /** `host[:port]` */
  readonly skipTlsVerifyRegistries?: readonly string[];
  /**
   * PEM files with authorities that are believed of one registry, by its `host[:port]`, and of where it sends us: its token
   * server, its storage. Of a mirror it is the mirror's own that count.
   */
  readonly registryCertificates?: Readonly<Record<string, string | readonly string[]>>;
  /** PEM files by which we show one registry, by its `host[:port]`, who we are. No other host is shown them. */
  readonly registryClientCertificates?: Readonly<
    Record<string, { readonly certificateFile: string; readonly keyFile: string }>
  >;
  /** `from=to[/prefix]`, in the order in which they are tried. */
  readonly registryMap?: readonly string[];
  /** A registry that has mirrors is not asked itself when they have failed. */
  readonly skipDefaultRegistryFallback?: boolean;
  readonly skipPushPermissionCheck?: boolean;
  /** A destination whose tag exists and may not be moved is left as it is, and said; it is none of what was `pushed`. */
  readonly pushIgnoreImmutableTagErrors?: boolean;
  /**
   * How often a request of a push that fails is tried again where another try can help: broken connections, 408, 429 and
   * 5xx. Fewer than the four that it is tried again without it make no difference.
   */
  readonly pushRetry?: number;
  /** The same for the manifests of images that are pulled. */
  readonly imageDownloadRetry?: number;
  /** The same for their layers, which go on from where they broke off. */
  readonly imageFsExtractRetry?: number;
  /**
   * Where logins are looked for when the files that `DOCKER_CONFIG` and its kin name have none: variables of the environment
   * (`env`, `gitlab`), and the programs `docker-credential-gcr`, `-ecr-login` and `-acr-env` for the hosts of their clouds.
   * Default: all, in this order.
   */
  readonly credentialHelpers?: readonly KeychainSource[];
  /** In place of all of these. */
  readonly keychain?: Keychain;

  /** `DOCKER_CONFIG`, `HOME`, `HTTP_PROXY`, `SSL_CERT_DIR` and the like are read from here alone. A program usually gives `process.env`. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Aborting stops every step and leaves nothing behind. */
  readonly signal?: AbortSignal;
}

/** What is fetched of a repository is one commit, whatever else it has. */
export interface GitContext {
  /** In place of what the address names: a branch, else a tag of that name. A commit in the address stays. */
  readonly branch?: string;
  /** Default: true; what the address says comes first. */
  readonly recurseSubmodules?: boolean;
  /** The address's own host need not prove who it is; that of a submodule must. */
  readonly insecureSkipTls?: boolean;
}

/** A repository with an image for each cached step, under the step's key. */
export interface RegistryCache {
  /** `oci:PATH` for an OCI layout in a directory. Default: `cache` below the first destination's repository. */
  readonly repository?: string;
  /** Older layers are made anew: milliseconds, or Go's spelling of a duration. Default: `336h`. */
  readonly ttl?: number | string;
  /** Whether layers of RUN and WORKDIR are looked for and put there. Default: true. */
  readonly runLayers?: boolean;
  /** Whether those of COPY and ADD are. Default: false. */
  readonly copyLayers?: boolean;
  /** `false`: nothing is put there. Default: true. */
  readonly push?: boolean;
}

/** What `cacheTo` has written: under a reference, or in an image that has its own records inside (`inline`). */
export type CacheSource =
  | { readonly type: "registry"; readonly ref: string }
  /** An OCI layout. Default of `tag`: latest. */
  | { readonly type: "local"; readonly src: string; readonly tag?: string };

/**
 * `min` has the layers of the result, `max` those of all steps. Default: min. What had the reference before is replaced, so
 * that it does not grow.
 */
export type CacheTarget =
  | { readonly type: "registry"; readonly ref: string; readonly mode?: "min" | "max" }
  | {
      readonly type: "local";
      readonly dest: string;
      readonly tag?: string;
      readonly mode?: "min" | "max";
    }
  /** Into the image itself. */
  | { readonly type: "inline" };

/** docs/decisions/in-place.md tells what is refused, whatever is asked for. */
export interface InPlaceBuild {
  /** Goes on although nothing says that this is a container, or that what it holds may go. Never on a machine. */
  readonly force?: boolean;
  /** A directory for the builder's work, left alone like its own. */
  readonly directory?: string;
  /** Never deleted, written by a layer or put into one; each name may be a pattern. Mounts are, without being named. */
  readonly ignorePaths?: readonly string[];
  /** The same for /var/run. Default: what is mounted there alone. */
  readonly ignoreVarRun?: boolean;
  /** The container's own system may be deleted. */
  readonly preCleanup?: boolean;
  /** At the end everything is deleted again, also when the build failed. */
  readonly cleanup?: boolean;
  /** After that, what the container held is put back. */
  readonly preserveContext?: boolean;
}

/** The image, or the files of its last stage. `dest` may be `/dev/stdout` where it is a file. */
export type Output =
  /** The files, into a directory, as the caller's own: what is there already stays, but for files of the same names. */
  | { readonly type: "local"; readonly dest: string; readonly platformSplit?: boolean }
  /**
   * The files, as a tar. `platformSplit` says whether each platform has a directory, such as `linux_arm64`; by default where
   * there are several. Together in one, no two of them may have the same file.
   */
  | { readonly type: "tar"; readonly dest: string; readonly platformSplit?: boolean }
  /** The image as an OCI layout: in a tar, or with `tar: false` in a directory. Default of `names`: the destinations. */
  | {
      readonly type: "oci";
      readonly dest: string;
      readonly tar?: boolean;
      readonly names?: readonly string[];
    }
  /** The image as an archive that `docker load` reads. Default of `names`: the destinations. */
  | { readonly type: "docker"; readonly dest: string; readonly names?: readonly string[] }
  /**
   * Further references, to push to or only to name the image. Default of `push`: false. `byDigest` pushes without a tag,
   * which the names then must not have.
   */
  | {
      readonly type: "image";
      readonly names?: readonly string[];
      readonly push?: boolean;
      readonly byDigest?: boolean;
    };

export interface BuildResult {
  /** The manifest's. */
  readonly image: Descriptor;
  /** The image's id: the digest of its config. */
  readonly configDigest: string;
  /** References that now name the image, with their registry. */
  readonly pushed: readonly string[];
  /** Files and directories that were written. */
  readonly written: readonly string[];
}
