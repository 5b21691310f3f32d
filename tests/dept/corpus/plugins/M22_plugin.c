// Its constructor runs under the loader's lock, and waits for a thread that wants that lock.
#include <dlfcn.h>
#include <pthread.h>

static void *find_symbols(void *arg) {
  (void)arg;
  return dlsym(RTLD_DEFAULT, "pthread_create");
}

__attribute__((constructor)) static void plugin_begin(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, find_symbols, NULL);
  pthread_join(thread, NULL);
}
