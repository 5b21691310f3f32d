// what: shape of HawkNL 1.6b3: closing takes the list, then the socket; shutting down walks the sockets and takes the list for each
// truth: D
// expect: likely kind=lock hops=2 names=socket_list
#include "corpus.h"

struct connection {
  pthread_mutex_t lock;
  int is_open;
};

enum { kSockets = 3 };
static pthread_mutex_t socket_list = PTHREAD_MUTEX_INITIALIZER;
static struct connection connections[kSockets];
static int open_count = kSockets;

static void close_connection(int number) {
  pthread_mutex_lock(&socket_list);
  pthread_mutex_lock(&connections[number].lock);
  open_count -= connections[number].is_open;
  connections[number].is_open = 0;
  pthread_mutex_unlock(&connections[number].lock);
  pthread_mutex_unlock(&socket_list);
}

static void shut_down(void) {
  for (int i = 0; i < kSockets; ++i) {
    pthread_mutex_lock(&connections[i].lock);
    if (connections[i].is_open) {
      pthread_mutex_lock(&socket_list);
      --open_count;
      pthread_mutex_unlock(&socket_list);
      connections[i].is_open = 0;
    }
    pthread_mutex_unlock(&connections[i].lock);
  }
}

static void *client(void *arg) {
  at_ms(30);
  close_connection(1);
  return arg;
}

static void *control(void *arg) {
  shut_down();
  return arg;
}

int main(void) {
  for (int i = 0; i < kSockets; ++i) {
    pthread_mutex_init(&connections[i].lock, NULL);
    connections[i].is_open = 1;
  }
  RUN_TOGETHER(client, control);
  return open_count == 0 ? 0 : 1;
}
