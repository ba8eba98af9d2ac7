# afar. `make help` lists what can be made.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
LUAJIT ?= luajit
MACHINE := $(shell uname -m)
ARCHES := x86_64 aarch64
OTHER := $(filter-out $(MACHINE),$(ARCHES))
OTHER_TRIPLET := $(OTHER)-linux-gnu

# ---- the Debian packages: the one list of them ----

BUILD_PACKAGES := gcc make pkg-config luajit libluajit-5.1-dev libev-dev binutils \
  $(if $(filter x86_64,$(OTHER)),gcc-x86-64-linux-gnu,gcc-aarch64-linux-gnu)
CHECK_PACKAGES := lua-busted lua-check lua-cjson clang-format clang-tidy libc6-dev \
  $(if $(filter x86_64,$(OTHER)),libc6-dev-amd64-cross,libc6-dev-arm64-cross) qemu-user-static \
  openssh-server openssh-client busybox-static dash fish tcsh zsh socat attr libcap2-bin procps iproute2 tmux \
  nginx-light redis-server curl sudo opendoas uidmap bubblewrap runc crun podman dropbear-bin \
  qemu-system-arm debian-installer-12-netboot-arm64 slurmctld slurmd slurm-client munge
DEMO_PACKAGES := $(BUILD_PACKAGES) openssh-server openssh-client nginx-light procps
PACKAGES := $(BUILD_PACKAGES) $(CHECK_PACKAGES)

# ---- what a stub is made of and how ----

STUB_CFLAGS := -std=c11 -Os -Wall -Wextra -Werror -ffreestanding -fno-builtin -fno-stack-protector -fno-pic -fno-pie \
  -fno-asynchronous-unwind-tables -fno-unwind-tables -fomit-frame-pointer -ffunction-sections
STUB_CFLAGS_aarch64 := -mno-outline-atomics
STUB_LDFLAGS := -static -nostdlib -nostartfiles -no-pie -Wl,--build-id=none -Wl,-z,norelro -Wl,-z,noseparate-code \
  -Wl,-z,common-page-size=64 -Wl,--gc-sections
STUB_MAX := 24576

tool = $(if $(filter $(MACHINE),$1),,$1-linux-gnu-)
stub_cc = $(if $(filter $(MACHINE),$1),$(CC),$1-linux-gnu-gcc)

# ---- what the host is made of ----

CFLAGS ?= -O2 -g
HOST_CFLAGS := -std=c11 -Wall -Wextra -Werror -D_GNU_SOURCE -Istub -Ibindings -Ihost $(shell pkg-config --cflags luajit 2>/dev/null)
# All of LuaJIT, and its symbols visible: Lua modules written in C, of Debian's packages, find it here.
HOST_LIBS := -Wl,-E -L$(shell pkg-config --variable=libdir luajit 2>/dev/null) \
  -Wl,--whole-archive -l:libluajit-5.1.a -Wl,--no-whole-archive -l:libev.a -lm -ldl -lpthread
ASAN_FLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all

HOST_SOURCES := $(wildcard host/*.c bindings/*.c)
LUA_SOURCES := $(sort $(shell find lua -name '*.lua'))
STUBS := $(ARCHES:%=build/stub-%)

.PHONY: all
all: build/afar

# ---- stubs ----

define stub_rules
stub_objects_$1 := $$(patsubst stub/%,build/stub/$1/%.o,$$(wildcard stub/*.c stub/$1/*.c stub/$1/*.S))

build/stub/$1/%.o: stub/% Makefile | build/tools
	@mkdir -p $$(@D)
	$$(call stub_cc,$1) $$(STUB_CFLAGS) $$(STUB_CFLAGS_$1) -Istub -Istub/$1 -MMD -MP -c -o $$@ $$<

build/stub-$1: $$(stub_objects_$1) host/check_stub.sh
	$$(call stub_cc,$1) $$(STUB_CFLAGS) $$(STUB_CFLAGS_$1) $$(STUB_LDFLAGS) $$(STUB_LDFLAGS_$1) -o build/stub/$1/stub $$(stub_objects_$1)
	@sh host/check_stub.sh build/stub/$1/stub $$@ $$(STUB_MAX) $$(call tool,$1)
endef
$(foreach arch,$(ARCHES),$(eval $(call stub_rules,$(arch))))

# ---- what is embedded ----

# Changes only when a file comes or goes: a removed module must leave the program too.
ifneq ($(LUA_SOURCES),$(shell cat build/sources 2>/dev/null))
.PHONY: build/sources
endif
build/sources: | build/
	@echo '$(LUA_SOURCES)' > $@

# As a bootstrap over a network sends them.
%.gz: %
	@gzip -9nc $< > $@

build/embedded.c: host/embed.lua build/sources $(LUA_SOURCES) $(STUBS) $(STUBS:=.gz)
	@echo '$(LUAJIT) host/embed.lua $@ ...'
	@$(LUAJIT) host/embed.lua $@ $(STUBS) $(STUBS:=.gz) $(LUA_SOURCES)

# ---- the host, plain and with sanitizers ----

HOST_OBJECTS := $(HOST_SOURCES:%.c=build/host/%.o) build/host/embedded.o
ASAN_OBJECTS := $(HOST_SOURCES:%.c=build/asan/%.o) build/asan/embedded.o

build/host/%.o: %.c Makefile | build/tools
	@mkdir -p $(@D)
	$(CC) $(HOST_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

build/asan/%.o: %.c Makefile | build/tools
	@mkdir -p $(@D)
	$(CC) $(HOST_CFLAGS) $(ASAN_FLAGS) -MMD -MP -c -o $@ $<

build/host/embedded.o build/asan/embedded.o: build/embedded.c
	@mkdir -p $(@D)
	$(CC) $(HOST_CFLAGS) -MMD -MP -c -o $@ $<

build/afar: $(HOST_OBJECTS)
	$(CC) $(CFLAGS) -o $@ $^ $(HOST_LIBS) $(LDFLAGS)

build/asan/afar: $(ASAN_OBJECTS)
	$(CC) $(ASAN_FLAGS) -o $@ $^ $(HOST_LIBS)

build/tools: | build/
	@sh host/check_tools.sh '$(BUILD_PACKAGES)' $(CC) $(LUAJIT) pkg-config $(OTHER_TRIPLET)-gcc
	@touch $@

build/:
	@mkdir -p build

# ---- programs of the tests ----

build/relay: spec/relay/relay.c | build/tools
	$(CC) -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -o $@ $<

build/stub_test: spec/stub/stub_test.c $(wildcard spec/stub/*.h) stub/protocol.h | build/tools
	$(CC) -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -Istub -o $@ $<

build/stub_fuzz: spec/stub/stub_fuzz.c $(wildcard spec/stub/*.h stub/*.c stub/*.h stub/*/*.h) | build/tools
	$(CC) -std=c11 -D_GNU_SOURCE $(ASAN_FLAGS) -O2 -Wall -Wextra -Werror -DAFAR_STUB_TEST -Ispec/stub -Istub -Istub/$(MACHINE) -o $@ $< $(wildcard stub/*.c)

build/host_fuzz: spec/bindings/host_fuzz.c $(wildcard spec/bindings/*.h bindings/*.[ch]) stub/protocol.h | build/tools
	$(CC) $(HOST_CFLAGS) $(ASAN_FLAGS) -O2 -o $@ $< $(wildcard bindings/*.c) $(HOST_LIBS)

build/bindings_test: spec/bindings/bindings_test.c spec/bindings/chance.h $(wildcard bindings/*.[ch]) | build/tools
	$(CC) $(HOST_CFLAGS) $(ASAN_FLAGS) -o $@ $< bindings/bytes.c $(HOST_LIBS)

build/bench/%: bench/%.c | build/tools
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -o $@ $< $(if $(filter %/pipes,$@),-l:libev.a -lm)

BASELINES := $(patsubst bench/%.c,build/bench/%,$(wildcard bench/*.c))

# Those whose sources are there.
TEST_PROGRAMS := $(BASELINES) $(if $(wildcard spec/relay/relay.c),build/relay) $(if $(wildcard spec/stub/stub_test.c),build/stub_test) \
  $(if $(wildcard spec/bindings/bindings_test.c),build/bindings_test)
FUZZERS := $(if $(wildcard spec/stub/stub_fuzz.c),build/stub_fuzz) $(if $(wildcard spec/bindings/host_fuzz.c),build/host_fuzz)

# ---- what one asks for ----

.PHONY: install deps demo check bench lint fuzz chaos asan clean help

install: all
	install -D -m 755 build/afar $(DESTDIR)$(PREFIX)/bin/afar
	install -D -m 644 doc/afar.1 $(DESTDIR)$(PREFIX)/share/man/man1/afar.1

deps:
	@sh host/deps.sh $(PACKAGES)

demo:
	@sh host/deps.sh $(DEMO_PACKAGES)
	@$(MAKE) --no-print-directory all
	@sh examples/demo.sh

check: deps
	@$(MAKE) --no-print-directory all build/asan/afar $(TEST_PROGRAMS) $(FUZZERS)
	@MAKE='$(MAKE)' MACHINE=$(MACHINE) OTHER=$(OTHER) sh spec/check.sh $(SPEC)

bench: deps
	@$(MAKE) --no-print-directory all build/relay $(BASELINES)
	@sh bench/run.sh $(BENCH)

lint:
	@sh spec/lint.sh

FUZZ ?= 10000000
fuzz: $(FUZZERS)
	@for fuzzer in $(FUZZERS); do echo "$$fuzzer $(FUZZ)" && $$fuzzer $(FUZZ) || exit 1; done

CHAOS ?= 1000
CUTS ?= 100
chaos: all build/relay
	@build/afar spec/chaos/chaos.lua $(CHAOS)
	@build/afar spec/chaos/cuts.lua $(CUTS)

asan: build/asan/afar

clean:
	rm -rf build

help:
	@echo 'make           build/afar, with the stubs of all architectures in it'
	@echo 'make install   to PREFIX (default /usr/local), under DESTDIR'
	@echo 'make deps      install the Debian packages that are needed, if any is missing'
	@echo 'make demo      three machines behind a throwaway sshd, driven side by side'
	@echo 'make check     all tests; SPEC=PATTERN: only the specs whose path matches'
	@echo 'make bench     the benchmarks, each beside its baseline; BENCH=SECTIONS: see bench/README.md; BENCH_LONG=1: 1 GiB'
	@echo '               (under 5 minutes; 15 with BENCH_LONG=1)'
	@echo 'make lint      luacheck, clang-format, clang-tidy'
	@echo 'make fuzz      both decoders, FUZZ=10000000 inputs each'
	@echo 'make chaos     hosts of a persistent process are killed at random instants, CHAOS=1000 times; connections to it are cut, CUTS=100 times'
	@echo 'make asan      build/asan/afar: the host with address and undefined-behaviour sanitizers'
	@echo 'make clean     remove build/'

-include $(shell find build -name '*.d' 2>/dev/null)
