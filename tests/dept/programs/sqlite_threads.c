/* SQLite in three ways of sharing, four threads each: one connection for all (serialized mode), a connection each in
 * WAL mode, and connections that share a cache. Prints what the tables hold at the end, which no schedule changes.
 *
 *   sqlite_threads DIRECTORY
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { kThreads = 4, kRows = 600 };

static sqlite3 *shared;
static char path[400];
static int open_flags;

static void run(sqlite3 *db, const char *sql) {
  for (;;) {
    char *message = NULL;
    int status = sqlite3_exec(db, sql, NULL, NULL, &message);
    sqlite3_free(message);
    if (status == SQLITE_OK) return;
    if ((status & 0xff) != SQLITE_BUSY && (status & 0xff) != SQLITE_LOCKED) {
      fprintf(stderr, "%s: %s\n", sql, sqlite3_errstr(status));
      exit(1);
    }
    usleep(200);
  }
}

static sqlite3 *open_db(void) {
  sqlite3 *db;
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | open_flags, NULL) != SQLITE_OK) exit(1);
  sqlite3_busy_timeout(db, 5000);
  run(db, "pragma synchronous=off");
  return db;
}

static void *work(void *argument) {
  int id = (int)(long)argument;
  sqlite3 *db = shared != NULL ? shared : open_db();
  for (int i = 0; i < kRows; ++i) {
    char sql[200];
    snprintf(sql, sizeof sql, "insert into t values(%d, %d, 'row %d of %d')", id * kRows + i, i * 7 % 101, i, id);
    run(db, sql);
    if (i % 8 == 0) run(db, "select count(*), sum(b) from t where b < 50");
    if (i % 16 == 0) {
      snprintf(sql, sizeof sql, "update t set b = b + 1 where a = %d", id * kRows + i / 2);
      run(db, sql);
    }
  }
  if (shared == NULL) sqlite3_close(db);
  return NULL;
}

static int print_row(void *name, int columns, char **values, char **names) {
  (void)names;
  printf("%s", (const char *)name);
  for (int i = 0; i < columns; ++i) printf(" %s", values[i]);
  printf("\n");
  return 0;
}

static void round_of(const char *directory, const char *name, int flags, int one_connection, const char *pragma) {
  pthread_t threads[kThreads];
  snprintf(path, sizeof path, "%s/%s.db", directory, name);
  open_flags = flags;
  sqlite3 *db = open_db();
  run(db, pragma);
  run(db, "create table t(a integer primary key, b int, c text)");
  run(db, "create index i on t(b)");
  shared = one_connection ? db : NULL;
  for (long i = 0; i < kThreads; ++i) pthread_create(&threads[i], NULL, work, (void *)i);
  for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
  sqlite3_exec(db, "select count(*), sum(a), sum(b), sum(length(c)) from t", print_row, (void *)name, NULL);
  sqlite3_close(db);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  round_of(argv[1], "serialized", SQLITE_OPEN_FULLMUTEX, 1, "pragma journal_mode=memory");
  round_of(argv[1], "wal", SQLITE_OPEN_NOMUTEX, 0, "pragma journal_mode=wal");
  round_of(argv[1], "shared", SQLITE_OPEN_SHAREDCACHE | SQLITE_OPEN_FULLMUTEX, 0, "pragma journal_mode=memory");
  return 0;
}
