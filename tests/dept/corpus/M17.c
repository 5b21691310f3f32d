// what: a list walked hand over hand, forward by one thread and backward by another: they can meet between two nodes
// truth: D
// expect: likely kind=lock
#include "corpus.h"

struct node {
  pthread_mutex_t lock;
  struct node *next, *previous;
  int value;
};

enum { kNodes = 6 };
static struct node *nodes[kNodes];

static struct node *new_node(int value) {
  struct node *node = calloc(1, sizeof *node);
  pthread_mutex_init(&node->lock, NULL);
  node->value = value;
  return node;
}

static int walk(struct node *node, int forward) {
  int sum = 0;
  pthread_mutex_lock(&node->lock);
  while (node) {
    sum += node->value;
    struct node *next = forward ? node->next : node->previous;
    if (next) pthread_mutex_lock(&next->lock);
    pthread_mutex_unlock(&node->lock);
    node = next;
  }
  return sum;
}

static void *first_to_last(void *arg) {
  return (void *)(intptr_t)walk(nodes[0], 1);
}

static void *last_to_first(void *arg) {
  at_ms(30);
  return (void *)(intptr_t)walk(nodes[kNodes - 1], 0);
}

int main(void) {
  for (int i = 0; i < kNodes; ++i) nodes[i] = new_node(i);
  for (int i = 0; i + 1 < kNodes; ++i) {
    nodes[i]->next = nodes[i + 1];
    nodes[i + 1]->previous = nodes[i];
  }
  RUN_TOGETHER(first_to_last, last_to_first);
  return 0;
}
