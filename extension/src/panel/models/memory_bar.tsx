/**
 * The memory of the model's device. If the memory of other programs is unknown, everything that is not weights, context
 * or free counts as theirs.
 */
import React from 'react';
import { IStatus } from '../../api/protocol';
import { bytes } from '../format';
import { useServices } from '../services';

export function MemoryBar(props: { memory: IStatus['memory'] }): JSX.Element {
  const { trans } = useServices();
  const { memory } = props;
  const rest = Math.max(
    0,
    memory.total - memory.weights - memory.kv - memory.free
  );
  const others = Math.min(memory.others ?? rest, rest);
  const parts: [string, string, number][] = [
    ['weights', trans.__('Weights'), memory.weights],
    ['kv', trans.__('Context'), memory.kv],
    ...(memory.others === null
      ? []
      : [
          ['work', trans.__('Working memory'), rest - others] as [
            string,
            string,
            number
          ]
        ]),
    ['other', trans.__('Other programs'), others],
    ['free', trans.__('Free'), memory.free]
  ];
  const label = parts
    .map(([, name, size]) => `${name} ${bytes(size)}`)
    .join(', ');
  return (
    <div className="jp-MistralMemory">
      <div
        className="jp-MistralMemory-bar"
        role="img"
        aria-label={trans.__('Memory of %1: %2', memory.device, label)}
      >
        {parts.map(([key, name, size]) => (
          <span
            key={key}
            className={`jp-mod-${key}`}
            style={{ flexGrow: size / memory.total }}
            title={`${name} ${bytes(size)}`}
          />
        ))}
      </div>
      <div className="jp-MistralMemory-legend" aria-hidden="true">
        {parts.map(([key, name, size]) => (
          <span key={key}>
            <i className={`jp-mod-${key}`} />
            {name} {bytes(size)}
          </span>
        ))}
      </div>
    </div>
  );
}
