// Submitter is a client that knows nothing of Leveret but its wire contract. It submits one job for each line of its
// input, {"type":…,"payload":…} and perhaps "delay", waits for all replies in an exclusive queue, and writes each as a line
// of its output, with the milliseconds since the program began to submit.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const patience = 60 * time.Second

type job struct {
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload"`
	Delay   string          `json:"delay"`
}

type reply struct {
	CorrelationID string          `json:"correlation_id"`
	Outcome       any             `json:"outcome"`
	ContentType   string          `json:"content_type"`
	Body          json.RawMessage `json:"body"`
	Milliseconds  int64           `json:"milliseconds"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: submitter URL QUEUE < jobs")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(url, queue string) error {
	connection, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.Confirm(false); err != nil {
		return err
	}
	returned := channel.NotifyReturn(make(chan amqp.Return, 1))
	answers, err := channel.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return err
	}
	replies, err := channel.Consume(answers.Name, "", true, true, false, false, nil)
	if err != nil {
		return err
	}
	count, begun := 0, time.Now()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); count++ {
		if err := submit(channel, queue, answers.Name, fmt.Sprint("job ", count), lines.Bytes()); err != nil {
			return err
		}
	}
	return hear(replies, returned, count, begun)
}

func submit(channel *amqp.Channel, queue, replyTo, correlationID string, line []byte) error {
	var one job
	if err := json.Unmarshal(line, &one); err != nil {
		return err
	}
	headers := amqp.Table{}
	if one.Delay != "" {
		headers["leveret-delay"] = one.Delay
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, "leveret.jobs", queue, true, false, amqp.Publishing{
		MessageId:     newID(),
		Type:          one.Type,
		ContentType:   "application/json",
		DeliveryMode:  amqp.Persistent,
		Timestamp:     time.Now(),
		Headers:       headers,
		CorrelationId: correlationID,
		ReplyTo:       replyTo,
		Body:          one.Payload,
	})
	if err != nil {
		return err
	}
	if confirmed, err := confirm.WaitContext(ctx); err != nil || !confirmed {
		return fmt.Errorf("%s is not with the broker: %w", correlationID, err)
	}
	return nil
}

func hear(replies <-chan amqp.Delivery, returned <-chan amqp.Return, count int, begun time.Time) error {
	out := json.NewEncoder(os.Stdout)
	for ; count > 0; count-- {
		select {
		case one, open := <-replies:
			if !open {
				return fmt.Errorf("the connection was closed with %d replies to come", count)
			}
			after := time.Since(begun).Milliseconds()
			heard := reply{one.CorrelationId, one.Headers["leveret-outcome"], one.ContentType, one.Body, after}
			if err := out.Encode(heard); err != nil {
				return err
			}
		case one := <-returned:
			return fmt.Errorf("%s came back: %s", one.CorrelationId, one.ReplyText)
		case <-time.After(patience):
			return fmt.Errorf("%d replies did not come", count)
		}
	}
	return nil
}

// newID returns a UUID of version 7: the time in milliseconds, then random bits.
func newID() string {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		log.Fatal(err)
	}
	now := time.Now().UnixMilli()
	for i := 5; i >= 0; i-- {
		id[i] = byte(now)
		now >>= 8
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
