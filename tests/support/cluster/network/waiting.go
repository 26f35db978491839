package main

import (
	"context"
	"net"
	"time"

	"github.com/florianl/go-nfqueue"
	"k8s.io/client-go/tools/cache"
)

const (
	// The kubelet tells a pod's address a second or so after the pod has begun to use it.
	patience = 10 * time.Second
	pause    = 20 * time.Millisecond
	// The controller's own name of where it looks pods up.
	byAddress = "podIPKeyIndex"
	// An IPv4 header without options: all that is looked at.
	headerBytes = 20
)

// waitingRoom keeps what a pod sends until the controller knows whose address it comes from. The controller would let it
// pass: to it, an address of no pod is somebody outside, to whom no policy applies.
type waitingRoom struct {
	pods  cache.Indexer
	queue *nfqueue.Nfqueue
}

func openWaitingRoom(ctx context.Context, pods cache.Indexer) error {
	queue, err := nfqueue.Open(&nfqueue.Config{
		NfQueue:      waitingQueue,
		MaxPacketLen: headerBytes,
		MaxQueueLen:  1024,
		Copymode:     nfqueue.NfQnlCopyPacket,
		Flags:        nfqueue.NfQaCfgFlagGSO,
		WriteTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	room := waitingRoom{pods, queue}
	return queue.RegisterWithErrorFunc(ctx, room.enter, func(error) int { return 0 })
}

func (room waitingRoom) enter(packet nfqueue.Attribute) int {
	source := net.IP((*packet.Payload)[12:16]).String()
	if room.knows(source) {
		room.queue.SetVerdict(*packet.PacketID, nfqueue.NfAccept)
	} else {
		go room.keep(*packet.PacketID, source)
	}
	return 0
}

func (room waitingRoom) keep(packet uint32, source string) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pause) {
		if room.knows(source) {
			room.queue.SetVerdict(packet, nfqueue.NfAccept)
			return
		}
	}
	room.queue.SetVerdict(packet, nfqueue.NfDrop)
}

func (room waitingRoom) knows(address string) bool {
	found, err := room.pods.ByIndex(byAddress, address)
	return err == nil && len(found) > 0
}
