// what: a plugin's constructor, which runs under the loader's lock, joins a thread that calls dlsym, which wants that lock
// truth: D
// expect: likely hops=2
// options: --hang 1
// hang: 5
// build: -ldl
#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "corpus.h"

int main(void) {
  char self[PATH_MAX] = "", path[PATH_MAX + 32];
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return 2;
  snprintf(path, sizeof path, "%s/M22_plugin.so", dirname(self));
  at_ms(20);
  return dlopen(path, RTLD_NOW) ? 0 : 1;
}
