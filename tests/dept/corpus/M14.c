// what: a transfer locks its source, then its target: two transfers between the same two accounts may cross
// truth: D
// expect: likely kind=lock hops=2
#include "corpus.h"

struct account {
  pthread_mutex_t lock;
  long balance;
};

static struct account *open_account(long balance) {
  struct account *account = malloc(sizeof *account);
  pthread_mutex_init(&account->lock, NULL);
  account->balance = balance;
  return account;
}

static struct account *ann, *bob;

static void transfer(struct account *from, struct account *to, long amount) {
  pthread_mutex_lock(&from->lock);
  pthread_mutex_lock(&to->lock);
  from->balance -= amount;
  to->balance += amount;
  pthread_mutex_unlock(&to->lock);
  pthread_mutex_unlock(&from->lock);
}

static void *rent(void *arg) {
  transfer(ann, bob, 500);
  return arg;
}

static void *refund(void *arg) {
  at_ms(30);
  transfer(bob, ann, 20);
  return arg;
}

int main(void) {
  ann = open_account(1000);
  bob = open_account(0);
  RUN_TOGETHER(rent, refund);
  return ann->balance == 520 ? 0 : 1;
}
