// The environment in which a worker computes: this process's own, with settings of the C library that have to be there
// when the process starts. Whoever starts workers by other means (systemd, Kubernetes, Slurm) may set them too.

const hugePages = "glibc.malloc.hugetlb=1";

/**
 * `environment` with huge pages for large blocks of memory, where the kernel offers them on request (Linux's default is
 * "madvise"): matrices then cost fewer page faults and misses of the processor's address cache. Who sets GLIBC_TUNABLES is
 * left alone; other C libraries do not read it.
 */
export function workerEnvironment(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { GLIBC_TUNABLES: hugePages, ...environment };
}
