/*
 * Preserves and retrieves texts in sessions, with nothing but the uAPI.
 *
 *   session_writer save NAME TOKEN TEXT [NAME TOKEN TEXT]...   a memfd of one page for each; NAME - - is an empty session
 *   session_writer check NAME TOKEN TEXT [...]                 the same memfds are back; finishes every session
 *
 * `save` returns when all is preserved; a process it leaves behind holds the sessions until the live update.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "liveupdate_uapi.h"

enum { PAGE = 4096, MAX_SESSIONS = 64 };

static struct { char name[64]; int fd; } sessions[MAX_SESSIONS];
static int session_count;

static void die(const char *what, const char *which)
{
	fprintf(stderr, "session_writer: %s %s: %s\n", what, which, strerror(errno));
	exit(1);
}

/* The session of that name, which is created or retrieved when it is first asked for. */
static int session(int device, unsigned long command, const char *name)
{
	struct session_request request = {sizeof request, -1, ""};
	int i;

	for (i = 0; i < session_count; i++)
		if (strcmp(sessions[i].name, name) == 0)
			return sessions[i].fd;
	if (session_count == MAX_SESSIONS || strlen(name) >= sizeof request.name) {
		errno = E2BIG;
		die("session", name);
	}
	strcpy(request.name, name);
	if (ioctl(device, command, &request) != 0)
		die("session", name);
	strcpy(sessions[session_count].name, name);
	sessions[session_count].fd = request.fd;
	session_count++;
	return request.fd;
}

static void save(int fd, uint64_t token, const char *text)
{
	struct fd_request request = {sizeof request, memfd_create("text", MFD_CLOEXEC), token};
	ssize_t length = (ssize_t)strlen(text);

	if (request.fd < 0 || ftruncate(request.fd, PAGE) != 0 || pwrite(request.fd, text, strlen(text), 0) != length)
		die("memfd of", text);
	if (ioctl(fd, PRESERVE_FD, &request) != 0)
		die("preserve", text);
	close(request.fd);
}

static void check(int fd, uint64_t token, const char *text)
{
	struct fd_request request = {sizeof request, -1, token};
	char found[PAGE + 1] = "";

	if (ioctl(fd, RETRIEVE_FD, &request) != 0)
		die("retrieve", text);
	if (pread(request.fd, found, PAGE, 0) != PAGE || strcmp(found, text) != 0) {
		errno = EILSEQ;
		die("contents, which were", text);
	}
	close(request.fd);
}

/* Until the kernel that has the sessions is gone. */
static void hold(void)
{
	struct pollfd old_kernel = {sessions[0].fd, 0, 0};

	if (fork() != 0)
		return;
	close(0), close(1), close(2);
	poll(&old_kernel, 1, -1);
	_exit(0);
}

int main(int argc, char **argv)
{
	int saving = argc > 1 && strcmp(argv[1], "save") == 0;
	int device, i;

	if (argc < 5 || (argc - 2) % 3 != 0 || (!saving && strcmp(argv[1], "check") != 0)) {
		fprintf(stderr, "usage: session_writer save|check NAME TOKEN TEXT [NAME TOKEN TEXT]...\n");
		return 2;
	}
	device = open("/dev/liveupdate", O_RDWR | O_CLOEXEC);
	if (device < 0)
		die("open", "/dev/liveupdate");
	for (i = 2; i < argc; i += 3) {
		int fd = session(device, saving ? CREATE_SESSION : RETRIEVE_SESSION, argv[i]);

		if (strcmp(argv[i + 1], "-") == 0)
			continue;
		(saving ? save : check)(fd, strtoull(argv[i + 1], NULL, 0), argv[i + 2]);
	}
	close(device);
	if (saving) {
		hold();
		return 0;
	}
	for (i = 0; i < session_count; i++) {
		struct finish_request request = {sizeof request, 0};

		if (ioctl(sessions[i].fd, FINISH, &request) != 0)
			die("finish", sessions[i].name);
	}
	printf("%d sessions\n", session_count);
	return 0;
}
