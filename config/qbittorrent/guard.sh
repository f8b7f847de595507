# Starts the downloader where Docker tried to and could not, which Docker does not try again: its VPN container did not
# run at that moment (a reboot, a crash of both). `$CONTAINER` is the downloader, `$ENGINE` the engine's address.
#
# A start that failed leaves its error in the container's state. One that somebody stopped, or that is not there, has
# none and is left alone.
# busybox's own -T crashes in Debian's build of 1.35.
while :; do
	answer=$(timeout 10 wget -q -O - "$ENGINE/containers/$CONTAINER/json" 2>&1)
	case $answer in *'"State":{'* | *' 404 '*) touch /tmp/answered ;; esac
	state=${answer#*\"State\":\{}
	case ${state%%\"StartedAt\":*} in
	*'"Status":"exited"'*'"Error":"'[!\"]*)
		echo "starting $CONTAINER, which Docker could not"
		timeout 60 wget -q -O - --post-data '' "$ENGINE/containers/$CONTAINER/start"
		;;
	esac
	sleep 15
done
