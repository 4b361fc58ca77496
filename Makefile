# SPDX-License-Identifier: MIT
# pop3fs. `make` builds, `make check` tests, `make demo` shows it; both install what is missing on Debian.
# V=1 shows the commands; BUILD=dir keeps builds with other flags apart (see .ci/run).

CC ?= cc
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
SANITIZE ?=

PACKAGES := fuse3 openssl gmime-3.0 libgsasl sqlite3
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla \
	-Wundef -Wpointer-arith -Wwrite-strings -Wconversion -Wno-sign-conversion
override CPPFLAGS += -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
override CFLAGS += -std=gnu11 $(WARNINGS) -fstack-protector-strong -pthread $(SANITIZE)
override LDFLAGS += -pthread $(SANITIZE)
LDLIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)
CRITERION := $(shell $(PKG_CONFIG) --libs criterion 2>/dev/null)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
CORE := $(call objects,$(filter-out fs/main.c,$(wildcard pop3/*.c cache/*.c fs/*.c)))
SERVER := $(call objects,$(filter-out tests/server/main.c,$(wildcard tests/server/*.c)))
UNIT := $(call objects,$(wildcard tests/unit/*.c))
# What the end-to-end tests use.
TOOLS := $(addprefix $(BUILD)/,mmapcat relay failwrite.so failalloc.so)
SOURCES := $(wildcard pop3/*.[ch] cache/*.[ch] fs/*.[ch] tests/*/*.[ch])

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' "$(1)" "$@")

# bench prints figures and fails on none.
.PHONY: all check demo unit e2e bench lint install uninstall clean deps test-deps
.SECONDARY:

all: $(BUILD)/pop3fs

$(BUILD)/pop3fs: $(BUILD)/fs/main.o $(CORE)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/pop3-server: $(BUILD)/tests/server/main.o $(SERVER)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/relay: $(BUILD)/tests/bench/relay.o
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

$(BUILD)/raw: $(BUILD)/tests/bench/raw.o
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/evict: $(BUILD)/tests/bench/evict.o
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

$(BUILD)/readers: $(BUILD)/tests/bench/readers.o
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

$(BUILD)/mmapcat: $(BUILD)/tests/e2e/mmapcat.o
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

$(BUILD)/%.so: tests/e2e/%.c
	$(call say,LINK)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(filter-out $(SANITIZE),$(CFLAGS)) -shared -fPIC -o $@ $< -ldl

$(BUILD)/unit-tests: $(UNIT) $(SERVER) $(CORE)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(CRITERION)

$(BUILD)/%.o: %.c
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# deps and test-deps come first and on their own: what they install decides the flags above, so the rest is
# a make of its own.
deps:
	@tests/install-packages build demo

test-deps:
	@tests/install-packages build test

demo: deps
	@$(MAKE) --no-print-directory $(BUILD)/pop3fs $(BUILD)/pop3-server
	@BUILD=$(BUILD) tests/demo

check: test-deps
	@$(MAKE) --no-print-directory $(BUILD)/pop3fs $(BUILD)/pop3-server $(TOOLS) \
		$(BUILD)/unit-tests
	@BUILD=$(BUILD) tests/check

unit: $(BUILD)/unit-tests
	@$(BUILD)/unit-tests

e2e: $(BUILD)/pop3fs $(BUILD)/pop3-server $(TOOLS)
	@BUILD=$(BUILD) tests/e2e/run

bench:
	@tests/install-packages build test servers bench
	@$(MAKE) --no-print-directory $(BUILD)/pop3fs $(BUILD)/pop3-server $(BUILD)/relay $(BUILD)/raw $(BUILD)/evict \
		$(BUILD)/readers
	@BUILD=$(BUILD) tests/bench/run

lint:
	@tests/lint

install: $(BUILD)/pop3fs
	install -D -m 0755 $(BUILD)/pop3fs $(DESTDIR)$(PREFIX)/bin/pop3fs
	install -D -m 0644 man/pop3fs.1 $(DESTDIR)$(PREFIX)/share/man/man1/pop3fs.1

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/pop3fs $(DESTDIR)$(PREFIX)/share/man/man1/pop3fs.1

clean:
	rm -rf $(BUILD)
