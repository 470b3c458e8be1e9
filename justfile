# Short names for the commands. Each is usable without `just`, as written here.

# list the recipes
default:
    @just --list

# everything a change must pass
ci:
    bash .ci/run

# all tests, or some: unit, e2e, autobahn, guard
test *suites:
    ./test {{suites}}

# format the code
fmt:
    cargo fmt --all

# what the compiler and clippy have to say
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# the API documentation, in target/doc
doc:
    cargo doc --workspace --no-deps

# licences, sources and duplicates of the dependencies
deny:
    cargo deny check bans licenses sources

# the optimised binary, in target/release
build:
    cargo build --release -p fanfare-server

# run from the sources: just serve --config fanfare.toml
serve *arguments:
    cargo run -p fanfare-server -- serve {{arguments}}
