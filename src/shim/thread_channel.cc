#include "shim/thread_channel.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>

#include "shim/frozen.h"
#include "shim/message.h"

namespace causeway::shim {

namespace {

struct PerThread {
  client::Channel channel;
  PerThread* next = nullptr;  // list of all, for fork()
  PerThread* previous = nullptr;
  bool listed = false;
  bool busy = false;
};

__thread PerThread per_thread __attribute__((tls_model("initial-exec")));

// Guards the list. Held over fork(), so that the child finds it whole.
pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
PerThread* list_head = nullptr;
pthread_key_t thread_exit_key;
bool have_key = false;

char name[sizeof(sockaddr_un::sun_path)];

// A byte that reads 0 in every process but the one that wrote it: fork() without the C library's (a sandbox's clone())
// runs no handlers, and its child must not write into the parent's pages. Null: the host cannot do that.
volatile unsigned char* own_process_mark = nullptr;

void make_mark() {
  constexpr size_t kPage = 4096;
  void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  if (madvise(page, kPage, MADV_WIPEONFORK) != 0) {
    munmap(page, kPage);
    return;
  }
  own_process_mark = static_cast<unsigned char*>(page);
  *own_process_mark = 1;
}

void unlist(PerThread* thread) {
  if (!thread->listed) return;
  if (thread->previous != nullptr) thread->previous->next = thread->next;
  if (thread->next != nullptr) thread->next->previous = thread->previous;
  if (list_head == thread) list_head = thread->next;
  thread->next = thread->previous = nullptr;
  thread->listed = false;
}

void thread_exits(void* argument) {
  auto* thread = static_cast<PerThread*>(argument);
  pthread_mutex_lock(&list_mutex);
  unlist(thread);
  pthread_mutex_unlock(&list_mutex);
  thread->channel.close();
}

void before_fork() { pthread_mutex_lock(&list_mutex); }
void in_parent() { pthread_mutex_unlock(&list_mutex); }
// The parent's channels: the child has copies of the descriptors, which would keep the kernel from noticing that the
// parent has ended, and a view of the pages, which are not its to write to.
void in_child() {
  if (own_process_mark != nullptr) *own_process_mark = 1;
  while (list_head != nullptr) {
    PerThread* thread = list_head;
    unlist(thread);
    thread->channel.close();
    thread->busy = false;
  }
  pthread_mutex_unlock(&list_mutex);
}

// Such a child has one thread; what others of the parent's did to the list, and who held the mutex, is of no interest.
void after_silent_fork() {
  pthread_mutex_init(&list_mutex, nullptr);
  pthread_mutex_lock(&list_mutex);
  in_child();
  per_thread.busy = false;
}

__attribute__((constructor)) void start() {
  const char* value = getenv(wire::kSocketVariable);
  if (value == nullptr || *value == '\0') return;
  if (strlen(value) >= sizeof name) {
    say("the value of %s is too long; this program is not served\n", wire::kSocketVariable);
    return;
  }
  strcpy(name, value);
  pthread_atfork(before_fork, in_parent, in_child);
  make_mark();
  have_key = pthread_key_create(&thread_exit_key, thread_exits) == 0;
}

}  // namespace

const char* socket_name() { return name[0] != '\0' ? name : nullptr; }

ThreadChannel::ThreadChannel() : channel_(&per_thread.channel) {
  if (own_process_mark != nullptr && *own_process_mark == 0) after_silent_fork();
  is_nested_ = per_thread.busy;
  if (is_nested_) {
    channel_ = &nested_;
  } else {
    per_thread.busy = true;
  }
}

ThreadChannel::~ThreadChannel() {
  if (is_nested_) {
    nested_.close();
  } else {
    per_thread.busy = false;
  }
}

int ThreadChannel::ready() {
  if (channel_->connected()) return 0;
  // Signals wait: a handler must not find the list half made, nor the mutex held.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int error = channel_->connect(socket_name());
  if (error == 0) map_frozen_filter(*channel_);
  if (error == 0 && !is_nested_ && !per_thread.listed) {
    pthread_mutex_lock(&list_mutex);
    per_thread.next = list_head;
    per_thread.previous = nullptr;
    if (list_head != nullptr) list_head->previous = &per_thread;
    list_head = &per_thread;
    per_thread.listed = true;
    pthread_mutex_unlock(&list_mutex);
    if (have_key) pthread_setspecific(thread_exit_key, &per_thread);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  // The program has no descriptor or memory left, as it would be told on Linux too.
  if (error == -EMFILE || error == -ENFILE || error == -ENOMEM) return error;
  if (error != 0) {
    static std::atomic<bool> said{false};
    if (!said.exchange(true)) {
      say(error == -EPROTO ? "the kernel at '%s' is of another version than this shim: use the 'causeway' it came with\n"
                           : "no kernel answers at '%s': start one with 'causeway up'\n",
          socket_name());
    }
  }
  return error != 0 ? -ENODEV : 0;
}

}  // namespace causeway::shim
