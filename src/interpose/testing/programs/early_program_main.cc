// Its library locks in a constructor, before anything of the program has run; and it loads and unloads another like it.
#include <dlfcn.h>
#include <stdio.h>

extern "C" int early_locks();

int main(int, char**) {
  printf("early %d\n", early_locks());
  for (int round = 0; round < 3; ++round) {
    void* plugin = dlopen(DEPT_PLUGIN, RTLD_NOW);
    if (plugin == nullptr) {
      printf("%s\n", dlerror());
      return 1;
    }
    auto locks = reinterpret_cast<int (*)()>(dlsym(plugin, "plugin_locks"));
    printf("plugin %d\n", locks());
    printf("closed %d\n", dlclose(plugin));
  }
  printf("error left behind: %s\n", dlerror() == nullptr ? "none" : "some");
}
