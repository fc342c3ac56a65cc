package main

// What the engine says: answers of vLLM's form and length.

import (
	"fmt"
	"strings"
)

const (
	wholeHead = "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:34:05 GMT\r\nserver: uvicorn\r\n" +
		"content-length: %d\r\ncontent-type: application/json\r\n\r\n%s"
	streamHead = "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:34:05 GMT\r\nserver: uvicorn\r\n" +
		"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
	identity = `"id":"chatcmpl-84764465580d6fd4","object":"chat.completion%s","created":1795221245,"model":"bench"`
	usage    = `"usage":{"prompt_tokens":120,"total_tokens":220,"completion_tokens":100,"prompt_tokens_details":null}`
)

type answers struct {
	plain, health, models, unknown       []byte
	streamStart, event, lastEvent, usage []byte
	done                                 []byte
}

func newAnswers() *answers {
	choice := `"choices":[{"index":0,"message":{"role":"assistant","content":"%s","refusal":null,"tool_calls":[]},` +
		`"logprobs":null,"finish_reason":"stop","stop_reason":null}]`
	text := strings.Repeat("A gateway passes on what it is told. ", 6)[:205]
	body := fmt.Sprintf("{"+identity+","+choice+","+usage+`}`, "", text)
	delta := `"choices":[{"index":0,"delta":{%s},"logprobs":null,"finish_reason":%s}]`
	chunk := func(delta, finish string) []byte {
		return event("{" + fmt.Sprintf(identity, ".chunk") + "," + delta + finish + "}")
	}
	word := func(content, finish string) []byte { return chunk(fmt.Sprintf(delta, content, finish), "") }
	models := `{"object":"list","data":[{"id":"bench","object":"model","created":1795221245,"owned_by":"vllm","max_model_len":8192}]}`
	return &answers{
		plain:       whole(body),
		health:      whole(""),
		models:      whole(models),
		unknown:     []byte("HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 22\r\n\r\n{\"detail\":\"Not Found\"}"),
		streamStart: append([]byte(streamHead), word(`"role":"assistant","content":""`, "null")...),
		event:       word(`"content":"`+string(stampMark)+strings.Repeat("0", stampDigits)+`"`, "null"),
		lastEvent:   word(`"content":""`, `"stop"`),
		usage:       chunk(`"choices":[],`+usage, ""),
		done:        append(event("[DONE]"), "0\r\n\r\n"...),
	}
}

func whole(body string) []byte { return []byte(fmt.Sprintf(wholeHead, len(body), body)) }

// event is one server-sent event as one chunk.
func event(data string) []byte {
	return []byte(fmt.Sprintf("%x\r\ndata: %s\n\n\r\n", len(data)+8, data))
}

// metrics is an engine's /metrics of about the length of vLLM's, with the gauges that gateways look at.
func metrics(running int) []byte {
	var text strings.Builder
	label := `engine="0",model_name="bench"`
	gauge := func(name string, value float64) {
		fmt.Fprintf(&text, "# HELP %s One of the engine's gauges.\n# TYPE %s gauge\n%s{%s} %g\n", name, name, name, label, value)
	}
	histograms := []string{
		"time_to_first_token_seconds", "inter_token_latency_seconds", "e2e_request_latency_seconds",
		"request_queue_time_seconds", "request_inference_time_seconds", "request_prefill_time_seconds",
		"request_decode_time_seconds", "request_prompt_tokens", "request_generation_tokens", "iteration_tokens_total",
		"request_max_num_generation_tokens", "request_params_n", "request_params_max_tokens",
	}
	for _, name := range histograms {
		fmt.Fprintf(&text, "# HELP vllm:%s A histogram.\n# TYPE vllm:%s histogram\n", name, name)
		for bucket := 1; bucket <= 40; bucket++ {
			fmt.Fprintf(&text, "vllm:%s_bucket{%s,le=\"%d.0\"} 8.0\n", name, label, bucket*bucket)
		}
		fmt.Fprintf(&text, "vllm:%s_bucket{%s,le=\"+Inf\"} 8.0\nvllm:%s_count{%s} 8.0\nvllm:%s_sum{%s} 0.25\n",
			name, label, name, label, name, label)
	}
	gauge("vllm:num_requests_running", float64(running))
	gauge("vllm:num_requests_waiting", 0)
	gauge("vllm:kv_cache_usage_perc", float64(running)/1000)
	body := text.String()
	return []byte("HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n" +
		fmt.Sprintf("content-length: %d\r\n\r\n%s", len(body), body))
}
