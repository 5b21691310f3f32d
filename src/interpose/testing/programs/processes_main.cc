// Every way to another process. With an argument: what a started one does.
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static char stack[65536];

static void lock_both() {
  pthread_mutex_lock(&a);
  pthread_mutex_lock(&b);
  pthread_mutex_unlock(&b);
  pthread_mutex_unlock(&a);
}

static int child(void*) {
  lock_both();
  return 7;
}

static void report(const char* what, pid_t pid) {
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) < 0) {
    printf("%s: failed\n", what);
    return;
  }
  printf("%s: exited %d with %d\n", what, WIFEXITED(status), WEXITSTATUS(status));
}

static void* idle(void*) {
  for (;;) pause();
}

static void all(const char* self) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) _exit(child(nullptr));
  report("fork", pid);
  fflush(stdout);
  if ((pid = fork()) == 0) exit(child(nullptr));
  report("fork, exit", pid);
  if ((pid = _Fork()) == 0) _exit(child(nullptr));
  report("_Fork", pid);
  report("clone", clone(child, stack + sizeof stack, SIGCHLD, nullptr));
  if ((pid = vfork()) == 0) _exit(3);
  report("vfork, _exit", pid);
  if ((pid = vfork()) == 0) execl(self, self, "started", static_cast<char*>(nullptr));
  report("vfork, exec", pid);
  if ((pid = vfork()) == 0) {
    execl("/nonexistent", "x", static_cast<char*>(nullptr));
    _exit(4);
  }
  report("vfork, failed exec", pid);
  if ((pid = fork()) == 0) {
    execlp(self, self, "started", static_cast<char*>(nullptr));
    _exit(5);
  }
  report("fork, exec", pid);
  if ((pid = fork()) == 0) {
    lock_both();
    execle(self, self, "started", static_cast<char*>(nullptr), environ);
    _exit(5);
  }
  report("fork, lock, exec", pid);
  char* arguments[] = {const_cast<char*>(self), const_cast<char*>("started"), nullptr};
  if (posix_spawn(&pid, self, nullptr, nullptr, arguments, environ) == 0) report("posix_spawn", pid);
  char line[4200];
  snprintf(line, sizeof line, "%s started", self);
  printf("system: %d\n", WEXITSTATUS(system(line)));
  FILE* pipe = popen(line, "r");
  printf("popen: %d\n", WEXITSTATUS(pclose(pipe)));
}

int main(int count, char** arguments) {
  if (count > 1) {
    if (getenv("LD_PRELOAD") == nullptr) setenv("LD_PRELOAD", "", 1);
    lock_both();
    return 11;
  }
  pthread_atfork([] { pthread_mutex_lock(&a); }, [] { pthread_mutex_unlock(&a); }, [] { pthread_mutex_unlock(&a); });
  lock_both();
  all(arguments[0]);
  pthread_t thread;
  pthread_create(&thread, nullptr, idle, nullptr);
  all(arguments[0]);
  printf("exec: %d\n", execl("/nonexistent", "x", static_cast<char*>(nullptr)));
  lock_both();
}
