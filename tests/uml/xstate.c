/* Preloaded into user-mode Linux on a CPU with AMX.
 *
 * UML before 6.13 keeps 2,696 bytes of a process's extended registers. The host's kernel takes them back
 * (PTRACE_SETREGSET) only whole, 11,008 bytes with the tiles of AMX, and answers EFAULT to less. So the rest is
 * put behind them as it stands: no process in UML can have asked for a tile. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long call(int, long, void *, void *);

long ptrace(enum __ptrace_request request, ...) {
  static call *real;
  if (!real) real = (call *)dlsym(RTLD_NEXT, "ptrace");
  va_list rest;
  va_start(rest, request);
  long process = va_arg(rest, int);
  void *place = va_arg(rest, void *), *data = va_arg(rest, void *);
  va_end(rest);
  if (request != PTRACE_SETREGSET || (long)place != NT_X86_XSTATE) return real(request, process, place, data);

  static unsigned char whole[1 << 16];
  struct iovec part = *(struct iovec *)data, all = {whole, sizeof whole};
  if (real(PTRACE_GETREGSET, process, place, &all)) return -1;
  if (part.iov_len >= all.iov_len) return real(request, process, place, data);
  memcpy(whole, part.iov_base, part.iov_len);
  return real(request, process, place, &all);
}
