// Answers by independent implementations of the formats that cairn writes.
//
//	oracle car FILE...       go-car reads each file and verifies every block; one line a file
//	oracle mst-root FILE...  indigo's tree roots of the maps in the files; one line a map
package main

import (
	"fmt"
	"os"
)

func main() {
	commands := map[string]func([]string) error{"car": cars, "mst-root": mstRoots}
	if len(os.Args) < 3 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: oracle car|mst-root FILE...")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
