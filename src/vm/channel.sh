# Runs in the guest, one command at a time. stdin and stdout are the port; the host's side is channel.rs.
# Asks:    basalt-run BOOT_ID NUMBER SECONDS SCRIPT(base64)       meant for another boot: ignored
# Answers: basalt-ready BOOT_ID                                   once at the start
#          basalt-done NUMBER STATUS o:STDOUT(base64) e:STDERR(base64) .
export HOME=/root LC_ALL=C.UTF-8
cd /
read -r boot </proc/sys/kernel/random/boot_id
work=$(mktemp -d "${RUNTIME_DIRECTORY:-/tmp}/run.XXXXXX") || exit 1
printf '\nbasalt-ready %s\n' "$boot"
while read -r word for_boot number seconds script; do
    [ "$word $for_boot" = "basalt-run $boot" ] || continue
    printf %s "$script" | base64 -d >"$work/script"
    timeout -k 5 "$seconds" sh "$work/script" </dev/null >"$work/out" 2>"$work/err"
    printf 'basalt-done %s %s o:%s e:%s .\n' "$number" "$?" "$(base64 -w0 <"$work/out")" "$(base64 -w0 <"$work/err")"
done
